"""What a training starts from (``model.init_from``): of another network whatever fits, and a list of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.models.schema import Normalisation
from experiments.schema import Experiment
from lightning_modules.checkpoint import EXPERIMENT, read_checkpoint, saved_experiment
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.weights import last_layer, read_weights

_KEY = "model.init_from"
_BACKBONE = "backbone.network."
_MOST = 12  # parts of a network that one line of the list names


@dataclass(frozen=True)
class InitialWeights:
    """What a training starts from.

    Attributes:
        source: Where it is from, in words.
        tensors: Name -> tensor; of a base network alone by its publisher's names.
        trained: The experiment of a checkpoint of ``covidmt train``; None: the tensors are of a base network.
        normalisation: What its input was normalised by; None: that is not known.
    """

    source: str
    tensors: Mapping[str, Tensor]
    trained: Experiment | None = None
    normalisation: Normalisation | None = None


@dataclass(frozen=True)
class LoadedWeights:
    """What became of them.

    Attributes:
        source: Where they are from.
        loaded: Names of the module's tensors that were loaded.
        missing: Names of those that were not in it, which start from scratch.
        unknown: Names of tensors that have no place here.
        unfit: Names of tensors that do not fit, and why.
    """

    source: str
    loaded: list[str]
    missing: list[str]
    unknown: list[str]
    unfit: dict[str, str]

    @property
    def text(self) -> str:
        """The list, a line for each kind of what was left out.

        >>> unfit = {"b": "(3,) instead of (2,)"}
        >>> print(LoadedWeights("run 4f0c", ["a"], ["tasks.sick.head.0.weight"], [], unfit).text)
        model.init_from: run 4f0c: 1 of 2 tensors loaded
          does not fit, left out: b (3,) instead of (2,)
          not in it, starts from scratch: tasks.sick (1)
        """
        lines = [f"{_KEY}: {self.source}: {len(self.loaded)} of {len(self.loaded) + len(self.missing)} tensors loaded"]
        kinds = {
            "has no place here, left out": _parts(self.unknown),
            "does not fit, left out": [f"{name} {reason}" for name, reason in self.unfit.items()],
            "not in it, starts from scratch": _parts(name for name in self.missing if name not in self.unfit),
        }
        for kind, parts in kinds.items():
            if parts:
                more = f", and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
                lines.append(f"  {kind}: {', '.join(parts[:_MOST])}{more}")
        return "\n".join(lines)


def read_initial(path: Path, source: str) -> InitialWeights:
    """Return what a file has: a checkpoint of ``covidmt train``, or any file of a network's tensors.

    Args:
        path: ``.ckpt``, ``.pth``, ``.pt`` or ``.safetensors``.
        source: Where it is from, in words.

    Raises:
        UserError: It cannot be read, or holds no tensors.
    """
    if path.suffix != ".safetensors":
        checkpoint = read_checkpoint(path, "covidmt train")
        if EXPERIMENT in checkpoint:
            trained = saved_experiment(checkpoint, path)
            return InitialWeights(source, checkpoint["state_dict"], trained, trained.model.normalisation)
    return InitialWeights(source, read_weights(str(path), _KEY))


def load_initial(module: MultiTaskModule, initial: InitialWeights) -> LoadedWeights:
    """Load what fits by name and shape.

    Of a checkpoint of ``covidmt train`` that is the base network and the heads; the last layer of a task's head not
    where the task has other labels now. Of any other file it is the base network, whatever stands before its names;
    a first layer of one grey channel is spread over three.

    Args:
        module: Changed in place.
        initial: The tensors.

    Raises:
        UserError: Nothing of the base network fits, or something is NaN or infinite.
    """
    own = module.state_dict()
    given = dict(initial.tensors) if initial.trained else _renamed(initial.tensors, own)
    relabelled = _relabelled(module, initial.trained) if initial.trained else set()

    # what fits
    fitting: dict[str, Tensor] = {}
    unfit: dict[str, str] = {}
    for name in given.keys() & own.keys():
        tensor = _spread(given[name], own[name])
        if name in relabelled:
            unfit[name] = "is of other labels"
        elif tensor.shape != own[name].shape:
            unfit[name] = f"{tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
        else:
            fitting[name] = tensor

    if not any(name.startswith(_BACKBONE) for name in fitting):
        example = next(iter(unfit.items()), None) or (next(iter(initial.tensors), "nothing"), "is not in it")
        raise UserError(
            f"{_KEY}: nothing of {initial.source} fits the base network {module.experiment.model.backbone} "
            f"({' '.join(example)}); set model.backbone to the network that it is of"
        )
    broken = [name for name, tensor in fitting.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(f"{_KEY}: {initial.source} is broken: {broken[0]} holds NaN or infinite values")

    module.load_state_dict(fitting, strict=False)
    return LoadedWeights(
        initial.source,
        sorted(fitting),
        [name for name in own if name not in fitting],
        [name for name in given if name not in own],
        {name: unfit[name] for name in own if name in unfit},
    )


def _renamed(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a base network's tensors by the module's names: what most of them have before ours is taken away."""
    ours = {name.removeprefix(_BACKBONE) for name in own if name.startswith(_BACKBONE)}
    before = Counter()
    for name in tensors:
        parts = name.split(".")
        ends = {".".join(parts[start:]): ".".join(parts[:start]) for start in range(len(parts))}
        before.update(start for end, start in ends.items() if end in ours)
    prefix = before.most_common(1)[0][0] if before else ""
    prefix = f"{prefix}." if prefix else ""
    return {
        f"{_BACKBONE}{name.removeprefix(prefix)}" if name.startswith(prefix) else name: tensor
        for name, tensor in tensors.items()
    }


def _spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the weights of a first layer of one channel over three equal ones: its answers stay the same."""
    one, three = tuple(tensor.shape), tuple(like.shape)
    if len(one) == len(three) == 4 and one == (three[0], 1, *three[2:]) and three[1] == 3:
        return tensor.expand(three) / 3
    return tensor


def _relabelled(module: MultiTaskModule, trained: Experiment) -> set[str]:
    """Return the names of the last layers of heads whose tasks had other labels."""
    names = set()
    for name, task in module.tasks.items():
        before = trained.tasks.get(name)
        if before is not None and before.labels != task.task.labels and _has_layers(task.head):
            layer, _ = last_layer(task.head)
            names |= {f"tasks.{name}.head.{layer}.{part}" for part in ("weight", "bias")}
    return names


def _has_layers(head: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear | nn.Conv2d) for part in head.modules())


def _parts(names: Iterable[str]) -> list[str]:
    """Return the parts of a network that some tensors are of, each with their number."""
    counts = Counter(".".join(name.split(".")[: 3 if name.startswith(_BACKBONE) else 2]) for name in names)
    return [f"{part} ({count})" for part, count in counts.items()]
