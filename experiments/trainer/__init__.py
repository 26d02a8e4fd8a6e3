"""The schema of the ``trainer:`` section: `arguments`."""
