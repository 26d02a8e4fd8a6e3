"""The schema of the ``tracking:`` section: `schema`."""
