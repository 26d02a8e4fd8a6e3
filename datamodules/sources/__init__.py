"""Data sets in their own on-disk layouts, each turned into one sample table.

A file a data set: `covidx`, `rsna`, `nih`, `wacxr`, and a user's own `user_csv` and `user_folder`; each says what the
set is, where to get it and how to cite it. `table` says what a sample table is and lists the readers; `split` decides
who is trained and tested on, `patients` who is in which image, `files` finds the files.

For use from outside: `load_tables`, `label_columns`, `PatientRegistry`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
