"""The schema of networks, an experiment's section ``model``: `schema`."""
