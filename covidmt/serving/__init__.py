"""``covidmt serve``: the system of the paper's Fig. 1 on one machine, a film in and the doctor's message out.

`service` answers films in batches (`batching`), `app` is its HTTP interface with its limits (`guards`, `uploads`),
`page` the page for a phone, `messages` the webhook of messaging platforms, and `serve` the command.

From outside: `FilmService`, `make_app`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
