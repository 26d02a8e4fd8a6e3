"""What a run logs goes to disk first; a thread sends it to the tracking store, and what is left is sent by `sync`.

``mlruns/spool/<run id>/`` holds one run's events:

- ``events.jsonl``: one JSON object a line, append-only (`events`). ``fsync`` before each sending: a power cut costs
  what was logged since, and the store never knows more.
- ``sent``: how many bytes of it the store has confirmed, replaced atomically after every batch.
- ``files/``: copies of pictures and artifacts, each removed once it is sent (`files`).
- ``rejected.jsonl``: events that the store cannot take as they are; `sync` tries them once more.
- ``origin.json``: the run's experiment, name and tags: with them `covidmt.tracking.sender` makes it anew.
- ``lock``: held by the process that writes or sends; the kernel releases it when that process dies (`place`).

An event may be sent twice (the store took it, and died before it said so), but counts once: a metric point carries its
own timestamp and MLflow's primary key is (run, key, step, timestamp, value); a file goes to the same place; tags,
parameters, inputs and status are set to the same value.

A folder can vanish under its process: removed, unmounted, lost with its server. That is noticed at the next event: what
the open files still hold goes to a new folder in the same place, or else below the system's folder for temporary files,
and what cannot be saved is in `Spool.lost`. A sqlite store that is removed takes events until its last descriptor is
closed: it is compared with its path before and after every batch.

From outside: `Origin` and `Spool`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
