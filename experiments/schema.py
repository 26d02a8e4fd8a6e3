"""The schema that every experiment YAML obeys: names, types, bounds, defaults (the defaults are the paper's settings).

Paths are relative to the folder that the command is started in; ``extends`` is relative to the file that says it.
A setting keeps its path as it was written; the property beside it (``Source.folder``) is absolute.

    >>> from experiments.bounds import check_bounds
    >>> check_bounds(Robustness(eta=1.5), "mine.yaml", "robustness.")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: robustness.eta: must be above 0 and at most 1, is 1.5
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any, Dict, List, Optional

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.paths import absolute
from experiments.source_schema import Source


class TaskKind(Enum):
    """What a task answers, and by which loss it learns."""

    multilabel = "multilabel"  # sigmoid cross-entropy, a label each
    multiclass = "multiclass"  # softmax cross-entropy over the labels
    boxes = "boxes"  # bounding-box regression


class Balance(Enum):
    """How often a training image of each class comes up."""

    none = "none"
    classes = "classes"  # every class comes up equally often


class SplitPolicy(Enum):
    """How training, validation and test images are told apart."""

    patient_disjoint = "patient_disjoint"  # no patient in two splits of any source
    stratified = "stratified"  # the same, drawn class by class: for small data sets
    paper = "paper"  # lists as published, RSNA 75/25 by image


class View(Enum):
    """What the network sees of an image (paper 001, ROI Hide-and-Seek; `datamodules/images/views.py`)."""

    original = "original"
    lungs_isolated = "lungs_isolated"  # the lungs alone
    lungs_removed = "lungs_removed"  # all but the lungs
    lungs_framed = "lungs_framed"  # a box around each lung
    lungs_boxed_out = "lungs_boxed_out"  # all but these boxes


class Target(Enum):
    """Which answer a heat map explains."""

    decision = "decision"  # explain the decision made: the logit, negated for a negative one
    positive = "positive"  # always explain the positive logit


class Norm(Enum):
    """The normalisation layers of the network."""

    batch = "batch"  # as the network comes
    group = "group"  # batch normalisation replaced by group normalisation, in heads too


class Weighting(Enum):
    """How the task losses become one."""

    mean = "mean"  # the weighted mean of the task losses (paper: Eq. 5)
    sum = "sum"  # their weighted sum: a loss_weight is what its task counts, whatever the others'
    uncertainty = "uncertainty"  # by a variance that each task learns (Kendall, Gal, Cipolla 2018)


class Gradients(Enum):
    """How the tasks' gradients in the base network become one."""

    sum = "sum"  # plain: the gradient of the loss
    pcgrad = "pcgrad"  # the tasks' gradients without what conflicts (PCGrad, Yu et al. 2020); one process


@dataclass
class Augment:
    """Training augmentation (paper: Data preprocessing). 0 switches a step off."""

    translate: float = bounded(0.10, at_least=0, at_most=1)  # share of the side, both axes
    rotate: float = 10.0  # degrees
    zoom: float = bounded(0.15, at_least=0, at_most=1)  # share
    intensity: float = bounded(0.10, at_least=0, at_most=1)  # share of the grey range
    hflip: float = bounded(0.5, at_least=0, at_most=1)  # probability
    jpeg: float = bounded(0.0, at_least=0, at_most=1)  # probability of a JPEG recompression, see `covidmt data check`
    jpeg_quality: List[int] = field(default_factory=lambda: [40, 95])
    contrast: float = 0.0  # share; the paper has none of these, nor the JPEG recompression
    gamma: float = 0.0  # exponents from 1 / (1 + gamma) to 1 + gamma
    blur: float = 0.0  # largest sigma of a Gaussian, in pixels of the input
    noise: float = 0.0  # largest standard deviation of white noise, share of the grey range
    opacities: float = 0.0  # probability of bright clouds, as of heavily opaque lungs; masks stay
    ratio: float = 0.0  # share of a side: three images in ten get narrower or lower by at most so much (COVID-Net's)


@dataclass
class Pairs:
    """Where the image pairs of PI and OLS come from.

    Attributes:
        val: Source whose validation split is sent through ``channel`` at every validation epoch.
        test: Source whose test split is tested on: one of kind ``wacxr`` brings what the phone received, of any other
            it is made by ``channel``; null: no test.
        channel: One of ``datamodules.channels.registry``, or several in a row: ``whatsapp+whatsapp``,
            ``resize:1600+jpeg:70``.
        limit: At most so many validation pairs, drawn by seed and balanced over the classes; null: all.
    """

    val: str = "covidx"
    test: Optional[str] = "wacxr"
    channel: str = "whatsapp"
    limit: Optional[int] = bounded(None, at_least=1, hint="null takes all pairs")


@dataclass
class Masks:
    """Lung masks.

    Attributes:
        folders: Folders with ``<image stem>.png`` masks that a data set brings; they win.
        segmenter: Makes the masks of all other images: ``covidmt``, the one that comes with the project
            (docs/lung_segmenter.md); ``torchxrayvision``, an optional extra; a checkpoint of ``covidmt lungs train``;
            or a lungs experiment YAML that is trained once when needed. null: such images count as having no lung.
        cache: Folder of computed masks, keyed by image content and segmenter.
    """

    folders: List[str] = field(default_factory=list)
    segmenter: Optional[str] = "covidmt"
    cache: str = "mlruns/masks"

    @property
    def mask_folders(self) -> List[Path]:
        """``folders``, absolute."""
        return [absolute(folder) for folder in self.folders]

    @property
    def cache_folder(self) -> Path:
        """``cache``, absolute."""
        return absolute(self.cache)


@dataclass
class Data:
    """What is learned from and measured on.

    Attributes:
        crop_top: Share of every image that is cut off at the top, where letters stand.
        view: What the network sees of every image, in training, validation, test and pairs alike. All but ``original``
            need a lung mask of every image; images in which no lung is found are left out and counted.
    """

    root: str = "data"
    image_size: int = bounded(512, at_least=32)
    crop_top: float = bounded(0.0, at_least=0, below=1)
    view: View = View.original
    split_policy: SplitPolicy = SplitPolicy.patient_disjoint
    # of the patients left after the published validation and test sets
    val_fraction: float = bounded(0.1, above=0, below=1)
    # of the patients of a source that publishes no split and shares no test patient
    test_fraction: float = bounded(0.2, above=0, below=1)
    # of the patients drawn for validation; not the run's seed, so that runs are comparable
    split_seed: int = bounded(0, at_least=0)
    epoch_length: str = "primary"  # primary | longest | a number of steps
    num_workers: int = bounded(4, at_least=0)
    cache: Optional[str] = None  # folder of decoded and resized images (`covidmt data cache`); null: decode each time
    sources: Dict[str, Source] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=Pairs)
    masks: Masks = field(default_factory=Masks)
    augment: Augment = field(default_factory=Augment)

    @property
    def cache_folder(self) -> Optional[Path]:
        """``cache``, absolute."""
        return None if self.cache is None else absolute(self.cache)


@dataclass
class Task:
    """One task; its name is its key under ``tasks``.

    Attributes:
        share_batch: Draw one batch with the other tasks of the same source that say so too.
        balance: ``classes``: every class comes up equally often.
        upsample: Label -> label: repeat the images of the first until they are as many as the second's.
        class_weights: A weight per label in the loss.
    """

    name: str = ""
    source: str = MISSING
    kind: TaskKind = TaskKind.multilabel
    labels: List[str] = field(default_factory=list)
    batch_size: int = bounded(4, at_least=1)  # per process
    share_batch: bool = True
    balance: Balance = Balance.none
    upsample: Dict[str, str] = field(default_factory=dict)
    class_weights: Optional[List[float]] = bounded(None, at_least=0)
    loss_weight: float = bounded(1.0, above=0, hint="leave the task out instead")


@dataclass
class BoxHeadSettings:
    """Bounding-box head (paper: FPN + box regression subnet)."""

    channels: int = bounded(256, at_least=1)
    l2: float = bounded(1e-4, at_least=0)  # factor of the regularised least squares
    objectness: bool = True  # our addition: a branch that says whether there is a box
    score_threshold: float = bounded(0.05, at_least=0, at_most=1)
    nms_iou: float = bounded(0.5, at_least=0, at_most=1)
    max_boxes: int = bounded(10, at_least=1)


@dataclass
class Model:
    """Base network and heads.

    Attributes:
        backbone: A torchvision name (``resnet50``), ``timm:<name>``, or a COVID-Net of docs/covidnet.md.
        pretrained: ImageNet weights from the hub cache; ``weights`` wins.
        weights: A local weights file (``covidmt weights fetch``), or ``package:<module>/<file>`` for a file that an
            installed Python package brings.
    """

    backbone: str = "resnet50"
    pretrained: bool = True
    weights: Optional[str] = None
    norm: Norm = Norm.batch  # group: privacy needs it; and its twin without privacy, for a fair pair
    transition_channels: int = bounded(512, at_least=1)
    channels_last: bool = False
    boxes: BoxHeadSettings = field(default_factory=BoxHeadSettings)


@dataclass
class Losses:
    """How the task losses, each times its ``tasks.<name>.loss_weight``, become one.

    For a primary task at full weight set ``weighting: sum``, its ``loss_weight`` to 1 and the others' to 1/6: it counts
    as much as alone, where the mean of six tasks gives it a sixth.

    Attributes:
        gradients: How the tasks' gradients in the base network become one.
        consistency: Factor of the divergence between the decision's answers to a training image and to its copy after
            ``consistency_channel`` (lightning_modules/losses/consistency.py); 0: off.
        consistency_channel: As ``data.pairs.channel``.
        attention: Factor of the share of Grad-CAM's heat outside the lungs (lightning_modules/losses/attention.py);
            0: off. The training images need lung masks then, see ``data.masks``.
    """

    weighting: Weighting = Weighting.mean
    gradients: Gradients = Gradients.sum
    consistency: float = bounded(0.0, at_least=0)
    consistency_channel: str = "whatsapp"
    attention: float = bounded(0.0, at_least=0)


@dataclass
class Privacy:
    """DP-SGD by Opacus (`pip install covidmt[privacy]`); see lightning_modules/privacy.py for what it guarantees.

    A step's images are drawn by Poisson sampling with ``batch_size`` images on average. One classification task on one
    process, without up-sampling, class balance, accumulated batches, mixed precision or extra losses.

    Attributes:
        target_epsilon: The noise is chosen so that the whole training spends at most this; or
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``, and epsilon is what comes of it.
        delta: Must be below 1 / training images.
        max_grad_norm: Every image's gradient is clipped to this norm.
    """

    target_epsilon: Optional[float] = bounded(None, above=0)
    noise_multiplier: Optional[float] = bounded(None, above=0)
    delta: float = bounded(1e-5, above=0)
    max_grad_norm: float = bounded(1.0, above=0)


@dataclass
class Optimizer:
    """An optimizer of torch, with its arguments."""

    name: str = "Adam"  # any of torch.optim
    lr: float = bounded(2e-4, at_least=0)
    options: Dict[str, Any] = field(default_factory=dict)


@dataclass
class Scheduler:
    """A learning rate scheduler of torch, with its arguments."""

    name: Optional[str] = "MultiStepLR"  # any of torch.optim.lr_scheduler; null: none
    interval: str = "epoch"  # epoch | step
    options: Dict[str, Any] = field(default_factory=lambda: {"milestones": [8, 16, 20]})


@dataclass
class Robustness:
    """PI and OLS. The decision: does the image show ``label`` or not?"""

    task: str = "covidx"
    label: str = "COVID-19"
    threshold: float = bounded(0.5, above=0, at_most=1)  # probability at and above which the decision is positive
    eta: float = bounded(0.4, above=0, at_most=1)  # IOL below which a region is out of the lungs (Eq. 4)
    region_threshold: float = bounded(0.5, above=0, at_most=1)  # share of the heat map's maximum
    target: Target = Target.decision
    # of the heat map: gradcam | guided_gradcam | a CAM method of pytorch-grad-cam (eigencam ...)
    engine: str = "gradcam"
    layer: Optional[str] = None  # explained module, e.g. backbone.network.layer3; null: the base network's last map
    batch_size: int = bounded(16, at_least=1)
    overlays: int = bounded(6, at_least=0)  # pairs drawn as pictures at every validation epoch


@dataclass
class Tracking:
    """MLflow.

    Attributes:
        uri: Tracking URI; null: the environment's MLFLOW_TRACKING_URI, else the project's own sqlite store.
        log_checkpoint: Upload the best checkpoint as an artifact.
    """

    uri: Optional[str] = None
    experiment: str = "covidmt"
    run_name: Optional[str] = None
    tags: Dict[str, str] = field(default_factory=dict)
    system_metrics: bool = True
    log_checkpoint: bool = True


@dataclass
class Checkpoint:
    """How often a training is saved, so that it can resume after an interruption.

    Attributes:
        every_n_steps: Optimizer steps between two checkpoints; there is one at every epoch's end and before every
            validation anyway.
    """

    every_n_steps: int = bounded(200, at_least=1)


@dataclass
class Experiment:
    """What ``covidmt train`` runs.

    Attributes:
        active_tasks: The tasks to learn, in order, the first is the primary one; null: all.
        trainer: Arguments of Lightning's Trainer; ``{class_path: ..., init_args: {...}}`` makes an object.

    >>> tasks = {"covidx": Task("covidx", "covidx"), "nodule": Task("nodule", "nih")}
    >>> [task.name for task in Experiment("mine", tasks=tasks, active_tasks=["nodule"]).active]
    ['nodule']
    """

    name: str = MISSING
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    data: Data = field(default_factory=Data)
    tasks: Dict[str, Task] = field(default_factory=dict)
    active_tasks: Optional[List[str]] = None
    model: Model = field(default_factory=Model)
    losses: Losses = field(default_factory=Losses)
    privacy: Optional[Privacy] = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    scheduler: Scheduler = field(default_factory=Scheduler)
    robustness: Robustness = field(default_factory=Robustness)
    tracking: Tracking = field(default_factory=Tracking)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    trainer: Dict[str, Any] = field(default_factory=lambda: {"max_epochs": 25})

    @property
    def active(self) -> list[Task]:
        """The active tasks, in order."""
        return [self.tasks[name] for name in (self.active_tasks or self.tasks)]
