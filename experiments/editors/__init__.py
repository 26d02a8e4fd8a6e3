"""What editors know of the YAML files: the JSON Schemas of experiments and sweeps, made from the settings' classes."""
