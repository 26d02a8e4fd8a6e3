"""The schema of image pairs, an experiment's section `data.pairs`: `schema`."""
