"""What is in the data sets, and what would spoil a training on them: `covidmt data check`.

`check` brings all findings together and `text` prints them; `counts` compares the sets with the paper's, `files` opens
the images, and `shortcuts` asks what gives a class away besides the disease.

For use from outside: `check_data`, `CheckReport`, `print_report`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
