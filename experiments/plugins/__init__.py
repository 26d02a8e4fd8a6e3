"""Choices: wherever a setting names something, a short name or a class of the user's own, and how either is found.

`choices` has the settings' side (``class_path`` and ``init_args``), `registry` finds and makes what is chosen,
`imports` has the folders that the user's modules are imported from, `trust` what a checkpoint of others may name.
"""
