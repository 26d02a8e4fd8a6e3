"""What makes a configuration: two trainings are seeds of one where nothing but the seed and the machine differs.

Every setting counts, also one that is new in the schema, unless it is named here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple

from experiments.errors import UserError
from experiments.keys import Values, flatten, merge
from experiments.load import to_dict
from experiments.schema import Experiment, Task
from experiments.source_schema import Source, source_class

# Where and how a training runs, and what it is called: patterns of dotted keys, with what is below them.
MACHINE = (
    *("name", "tasks.*.name", "tracking", "checkpoint"),
    *("data.root", "data.sources.*.root", "data.num_workers", "data.cache", "data.masks.cache"),
    *("robustness.batch_size", "robustness.overlays"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),  # the global batch counts
    *("trainer.logger", "trainer.log_every_n_steps", "trainer.default_root_dir", "trainer.profiler"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.enable_checkpointing"),
    *("trainer.num_sanity_val_steps", "trainer.use_distributed_sampler"),
)
FILES = ("data.masks.folders", "data.masks.segmenter", "model.weights")  # on any machine in another folder: names count
CONTENT = ".content"  # ends a key whose value is the digest of what was read; a data set that only one has read is none
TASKS = "active_tasks"  # the active tasks, separated by commas
_IMPLIED = {"model.weights": "model.backbone"}  # a key whose difference goes without saying where the other differs


class SettingDifference(NamedTuple):
    """A setting in which two configurations differ, as text; empty where one does not have it."""

    key: str
    first: str
    second: str

    def __str__(self) -> str:
        """Write ``1 epoch against 2``, or ``optimizer.lr 0.1 against 0.2``.

        Example:
            >>> print(SettingDifference("trainer.max_epochs", "1", "2"), SettingDifference("optimizer.lr", "", "0.2"))
            1 epoch against 2 optimizer.lr not set against 0.2
        """
        first, second = self.first or "not set", self.second or "not set"
        if self.key == "trainer.max_epochs" and self.first.isdigit() and self.second.isdigit():
            return f"{first} epoch{'s' if first != '1' else ''} against {second}"
        return f"{self.key} {first} against {second}"


def identity(values: Mapping, processes: int | None = None) -> dict[str, str]:
    """Return the settings that make the configuration of a resolved experiment, by dotted key, as text.

    Tasks that are not active are left out. A task's images of a step are counted over all processes
    (``tasks.<name>.global_batch``), so that more devices with smaller batches are the same configuration. A setting
    that the experiment does not know yet, being older than the setting, has the schema's default.

    Args:
        values: The resolved experiment as plain containers (:func:`experiments.load.to_dict`, ``experiment.yaml``).
        processes: How many it was trained on; None: as the trainer section says, as far as it does.

    Example:
        >>> one = identity({"seed": 1, "optimizer": {"lr": 0.1}, "data": {"num_workers": 8}})
        >>> one["optimizer.lr"], "seed" in one, "data.num_workers" in one
        ('0.1', False, False)
    """
    complete = _with_defaults(values)
    tasks = complete["tasks"]
    active = [name for name in complete.get("active_tasks") or tasks if name in tasks]
    processes = processes or count_processes(complete["trainer"])

    # the active tasks, each with its images of a step
    settings = flatten({**complete, "tasks": {name: tasks[name] for name in active}, TASKS: ", ".join(active)})
    for name in active:
        settings[f"tasks.{name}.global_batch"] = settings.pop(f"tasks.{name}.batch_size") * processes

    texts = {key: _text(key, value) for key, value in settings.items() if key not in ("seed", "tasks")}
    return {key: text for key, text in texts.items() if not is_machine_setting(key)}


def is_machine_setting(key: str) -> bool:
    """Return whether a setting says where and how a training runs, not what it computes.

    Example:
        >>> [is_machine_setting(key) for key in ("data.sources.nih.root", "trainer.devices", "trainer.max_epochs")]
        [True, True, False]
    """
    return any(fnmatchcase(key, pattern) or fnmatchcase(key, f"{pattern}.*") for pattern in MACHINE)


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[SettingDifference]:
    """Return the settings in which two :func:`identity` differ; of a task that only one has, nothing but that.

    Example:
        >>> [str(each) for each in differences({"a": "1", "b": "x"}, {"a": "2", "b": "x"})]
        ['a 1 against 2']
    """
    common = set(first.get(TASKS, "").split(", ")) & set(second.get(TASKS, "").split(", "))
    changed = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    return [
        SettingDifference(key, first.get(key, ""), second.get(key, ""))
        for key in sorted(changed, key=lambda key: (key.count("."), key))
        if not (key.startswith("tasks.") and key.split(".")[1] not in common)
        and not (key.endswith(CONTENT) and "" in (first.get(key, ""), second.get(key, "")))
        and not (_IMPLIED.get(key) in changed and "null" not in (first.get(key), second.get(key)))
    ]


def same_but_seed(first: Experiment, second: Experiment) -> bool:
    """Return whether two experiments are one configuration with two seeds.

    Example:
        >>> same_but_seed(Experiment(seed=0), Experiment(seed=1)), same_but_seed(Experiment(), Experiment())
        (True, False)
    """
    return first.seed != second.seed and identity(to_dict(first)) == identity(to_dict(second))


def count_processes(trainer: Mapping) -> int:
    """Return the processes that a trainer section asks for; 1 where it leaves that to the machine.

    Example:
        >>> count_processes({"devices": 4, "num_nodes": 2}), count_processes({"devices": "auto"})
        (8, 1)
    """
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes")
    if isinstance(devices, list):
        devices = len(devices)
    counts = [count for count in (devices, nodes) if isinstance(count, int) and count > 0]
    return int(counts[0] if len(counts) == 1 else counts[0] * counts[1]) if counts else 1


def _with_defaults(values: Mapping) -> Values:
    """Return a resolved experiment with the schema's default of every setting that it lacks."""
    complete: Values = json.loads(_defaults())
    merge(complete, values)
    complete["tasks"] = {name: json.loads(_defaults(Task)) | task for name, task in complete["tasks"].items()}
    sources = complete["data"]["sources"]
    for name, source in sources.items():
        sources[name] = json.loads(_defaults(_source_class(source))) | source
    return complete


@cache
def _defaults(schema: type = Experiment) -> str:
    return json.dumps(to_dict(schema()))


def _text(key: str, value: Any) -> str:
    if key in FILES and value:
        names = [PurePath(str(item)).name for item in (value if isinstance(value, list) else [value])]
        return ", ".join(names)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as a person writes it
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _source_class(source: Mapping) -> type[Source]:
    """Return the settings class of a saved source; of a kind that is not installed here that of all sources."""
    try:
        return source_class(source.get("kind", ""), "kind")
    except UserError:
        return Source
