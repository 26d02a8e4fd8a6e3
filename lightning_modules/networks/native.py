"""A network's classifier as published, from its last feature map to the classes of a task (``model.head: native``).

The classifier is what the network's own forward does after the last map of :mod:`.backbones`: AlexNet's and VGG's last
pooling and fully connected layers, EfficientNet's pooling, dropout and linear layer, ResNet's and DenseNet's pooling
and linear layer. Its last layer alone is new. It is a module that reads the map, so Grad-CAM needs no hook here either.
"""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.models.schema import Model
from lightning_modules.networks.backbones import Backbone, dry_run
from lightning_modules.networks.covidnet import VARIANTS
from lightning_modules.networks.named import is_own
from lightning_modules.networks.weights import create_classifier, last_layer, read_weights

_KEPT = ("avgpool", "classifier", "fc")  # torchvision's names of what follows the features


class NativeHead(nn.Module):
    """Map the last feature map to logits by a network's own classifier.

    Args:
        network: A network of torchvision or timm with the task's classes; its features are taken out.

    Example:
        >>> from torchvision.models import alexnet
        >>> head = NativeHead(alexnet(num_classes=3))
        >>> [type(layer).__name__ for layer in head.network.classifier]
        ['Dropout', 'Linear', 'ReLU', 'Dropout', 'Linear', 'ReLU', 'Linear']
        >>> import torch
        >>> head(torch.rand(2, 256, 6, 6)).shape
        torch.Size([2, 3])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if hasattr(network, "forward_head"):  # timm
            return

        # torchvision: without its features, but for a last pooling, which the base network leaves to the heads
        for name, child in list(network.named_children()):
            if name not in _KEPT:
                last = list(child.children())[-1:]
                pool = name == "features" and isinstance(last[0], nn.MaxPool2d)
                setattr(network, name, last[0] if pool else nn.Identity())

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, labels) logits of the last map, (N, C, h, w)."""
        if hasattr(self.network, "forward_head"):
            return self.network.forward_head(maps)  # ty: ignore[not-callable]
        return self.network(maps)


def build_native_head(model: Model, labels: int, backbone: Backbone) -> NativeHead:
    """Return the classifier of the network that ``model.backbone`` names, with its weights.

    Args:
        model: The experiment's ``model`` section.
        labels: Number of classes.
        backbone: The base network, whose last map the classifier reads.

    Raises:
        UserError: A network without a published classifier, or whose classifier does not read its last map.
    """
    if is_own(model.backbone):
        raise UserError(f"model.head: {model.backbone} has no published classifier; set model.head=transition")
    if model.backbone in VARIANTS:
        raise UserError(
            f"model.head: {model.backbone} is a re-implementation whose published classifier is not known "
            "(docs/covidnet.md); set model.head=transition"
        )
    head = NativeHead(create_classifier(model, labels))
    problem = f"gives no {labels} answers to an image"
    try:
        (logits,) = dry_run(head, (2, backbone.channels[-1], backbone.map_size, backbone.map_size))
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        problem, logits = str(error).splitlines()[0], None
    if logits is None or logits.shape != (2, labels):
        raise UserError(
            f"model.head: the published classifier of {model.backbone} does not read its last feature map "
            f"({problem}); set model.head=transition"
        )
    if model.weights is not None:
        _load_hidden_layers(head.network, model.weights)
    return head


def _load_hidden_layers(network: nn.Module, source: str) -> None:
    """Load a weights file into a classifier but for its last layer, by the tensors' names."""
    last, _ = last_layer(network)
    hidden = {name: t for name, t in network.state_dict().items() if not name.startswith(f"{last}.")}
    weights = read_weights(source)
    fitting = {name: weights[name] for name, t in hidden.items() if name in weights and weights[name].shape == t.shape}
    if fitting.keys() != hidden.keys():
        missing = ", ".join(sorted({name.rpartition(".")[0] for name in hidden.keys() - fitting.keys()}))
        rank_zero_warn(f"model.head: {source} has no weights of the classifier's {missing}; they start from scratch")
    network.load_state_dict(fitting, strict=False)
