"""The main job: `train` in five steps, which run it resumes, and the table that it ends with.

`covidmt.training.train.train` is for use from outside.
"""
