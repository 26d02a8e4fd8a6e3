"""The schema of self-supervised pretraining, ``covidmt pretrain``: `schema`."""
