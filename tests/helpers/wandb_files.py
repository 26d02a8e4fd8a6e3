"""What a W&B run logged, by its own file."""

from __future__ import annotations

import json
from pathlib import Path


def read_history(path: Path) -> list[dict]:
    """Return the rows of a run's history: key -> value."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, rows = DataStore(), []
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        row: dict = {}
        for item in record.history.item:
            first, *rest = item.nested_key or [item.key]
            if rest:  # a picture or a table: what it is, and its file
                row.setdefault(first, {})["/".join(rest)] = json.loads(item.value_json)
            else:
                row[first] = json.loads(item.value_json)
        if row:
            rows.append(row)
    return rows
