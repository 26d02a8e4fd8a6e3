"""The schema that every experiment YAML obeys: names, types, bounds, defaults (the defaults are the paper's settings).

Every setting makes a configuration but those that ``covidmt/tracking/identity.py`` lists as the machine's.
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
from experiments.lungs.masks import Masks
from experiments.models.schema import Model
from experiments.pairs.schema import Pairs
from experiments.paths import absolute
from experiments.plugins.choices import chosen
from experiments.source_schema import Source
from experiments.tracking.schema import Tracking

MAX_MEGAPIXELS = 200.0  # of an image, in all its frames: as many as a decoder may be asked for


class TaskKind(Enum):
    """What a task answers, and by which loss it learns."""

    multilabel = "multilabel"  # sigmoid cross-entropy, a label each
    multiclass = "multiclass"  # softmax cross-entropy over the labels
    boxes = "boxes"  # bounding-box regression
    custom = "custom"  # what a class of the user's own answers; its scores are its own, and nothing else reads it


class Balance(Enum):
    """How often a training image of each class comes up."""

    none = "none"
    classes = "classes"  # every class comes up equally often


class SplitPolicy(Enum):
    """How training, validation and test images are told apart."""

    patient_disjoint = "patient_disjoint"  # no patient in two splits of any source
    stratified = "stratified"  # the same, drawn class by class: for small data sets
    paper = "paper"  # lists as published, RSNA 75/25 by image


class Duplicates(Enum):
    """What becomes of images that lie in a data set twice, under several names."""

    refuse = "refuse"  # equal files in two splits end a training before it starts
    join = "join"  # the patients of equal files are one patient, so that no split comes between them
    keep = "keep"  # they stay where they are, and are counted


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
    predicted = "predicted"  # explain the most probable class, whichever it is; of a task of one label the decision


class DecisionRule(Enum):
    """When the decision is positive."""

    threshold = "threshold"  # the label's probability is at least robustness.threshold
    argmax = "argmax"  # the label is the most probable of the task's


class ThresholdRule(Enum):
    """From which probability on a label is positive (metrics/tasks/thresholds.py)."""

    fixed = "fixed"  # 0.5
    youden = "youden"  # the largest sensitivity + specificity on the validation images
    sensitivity = "sensitivity"  # the highest that finds a share of the validation images with the label


class Weighting(Enum):
    """How the task losses become one."""

    mean = "mean"  # the weighted mean of the task losses (paper: Eq. 5)
    sum = "sum"  # their weighted sum: a loss_weight is what its task counts, whatever the others'
    uncertainty = "uncertainty"  # by a variance that each task learns (Kendall, Gal, Cipolla 2018)


class Accountant(Enum):
    """How the privacy that was spent is added up; both are upper bounds."""

    prv = "prv"  # by the privacy loss's distribution (Gopi, Lee, Wutschitz 2021): tight
    rdp = "rdp"  # by Renyi divergences (Mironov 2017): a little above, for any noise


class Entropy(Enum):
    """Where the noise and the draws of a private training come from."""

    seed = "seed"  # the experiment's seed: replayable, and so are they by whoever knows it
    os = "os"  # the operating system: not replayable, also not by resuming


class PrivacyUnit(Enum):
    """Whose presence in the training data is hidden."""

    image = "image"
    patient = "patient"  # all images of a patient come and go together, clipped as one


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
    extra: List[str] = chosen([], "augmentations")  # further steps after these: albumentations' by name, or your own


@dataclass
class DataSets:
    """Images of data sets, their size, and who of them is trained on.

    Attributes:
        crop_top: Share of every image that is cut off at the top, where letters stand.
        max_megapixels: Files with more million pixels are refused before they are decoded.
    """

    root: str = "data"
    image_size: int = bounded(512, at_least=32)
    crop_top: float = bounded(0.0, at_least=0, below=1)
    max_megapixels: float = bounded(MAX_MEGAPIXELS, above=0)
    split_policy: SplitPolicy = SplitPolicy.patient_disjoint
    duplicates: Duplicates = Duplicates.refuse  # equal image files in two splits
    # of the patients left after the published validation and test sets
    val_fraction: float = bounded(0.1, above=0, below=1)
    # of the patients of a source that publishes no split and shares no test patient; 0: nobody is kept for a test
    test_fraction: float = bounded(0.2, at_least=0, below=1)
    # of the patients drawn for validation; not the run's seed, so that runs are comparable
    split_seed: int = bounded(0, at_least=0)
    num_workers: int = bounded(4, at_least=0)
    cache: Optional[str] = None  # folder of decoded and resized images (`covidmt data cache`); null: decode each time
    sources: Dict[str, Source] = field(default_factory=dict)

    @property
    def cache_folder(self) -> Optional[Path]:
        """``cache``, absolute."""
        return None if self.cache is None else absolute(self.cache)


@dataclass
class Data(DataSets):
    """What is learned from and measured on.

    Attributes:
        view: What the network sees of every image, in training, validation, test and pairs alike. All but ``original``
            need a lung mask of every image; images in which no lung is found are left out and counted.
    """

    view: View = View.original
    epoch_length: str = "primary"  # primary | longest | a number of steps
    pairs: Pairs = field(default_factory=Pairs)
    masks: Masks = field(default_factory=Masks)
    augment: Augment = field(default_factory=Augment)


@dataclass
class Task:
    """One task; its name is its key under ``tasks``.

    Attributes:
        kind: ``multilabel``, ``multiclass``, ``boxes``; or a class of your own (docs/extending.md), which becomes its
            ``module``, and ``kind`` what that answers.
        module: The class that learns the task; null: the kind's own.
        loss: In place of the kind's own: a function of your own or a class whose objects are called with logits and
            targets (N, labels), and give the loss of each of them, or of each image.
        share_batch: Draw one batch with the other tasks of the same source that say so too.
        balance: ``classes``: every class comes up equally often.
        upsample: Label -> label: repeat the images of the first until they are as many as the second's.
        class_weights: A weight per label in the loss. ``multiclass``: the loss is the weighted mean over the images,
            torch.nn.CrossEntropyLoss's, so that only the weights' ratios count; ``multilabel``: a label's loss is
            multiplied, as in torch.nn.BCEWithLogitsLoss.
        column: Learn a text column of the sample table instead of a disease, such as ``origin``, ``file_format`` or
            ``projection``: the labels are values of it.
    """

    name: str = ""
    source: str = MISSING
    kind: TaskKind = chosen(TaskKind.multilabel, "tasks")
    module: Optional[str] = chosen(None, "tasks")
    loss: Optional[str] = chosen(None, "losses")
    column: Optional[str] = None
    labels: List[str] = field(default_factory=list)
    batch_size: int = bounded(4, at_least=1)  # per process
    share_batch: bool = True
    balance: Balance = Balance.none
    upsample: Dict[str, str] = field(default_factory=dict)
    class_weights: Optional[List[float]] = bounded(None, at_least=0)
    loss_weight: float = bounded(1.0, above=0, hint="leave the task out instead")


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
    consistency_channel: str = chosen("whatsapp", "channels")
    attention: float = bounded(0.0, at_least=0)


@dataclass
class Privacy:
    """DP-SGD by Opacus (`pip install covidmt[privacy]`); see lightning_modules/privacy.py for what it guarantees.

    A step's images are drawn by Poisson sampling with ``batch_size`` images on average. One classification task on one
    process, without up-sampling, class balance, accumulated batches, mixed precision or extra losses.

    Attributes:
        target_epsilon: The noise is chosen so that the whole training spends at most this; or
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``, and epsilon is what comes of it.
        delta: Must be below 1 / training images (patients).
        max_grad_norm: Every image's (patient's) gradient is clipped to this norm.
        accountant: How epsilon is computed.
        unit: What (epsilon, delta) hold for. ``patient``: a step draws patients, with all their images.
        entropy: Of the noise and the draws.
    """

    target_epsilon: Optional[float] = bounded(None, above=0)
    noise_multiplier: Optional[float] = bounded(None, above=0)
    delta: float = bounded(1e-5, above=0)
    max_grad_norm: float = bounded(1.0, above=0)
    accountant: Accountant = Accountant.prv
    unit: PrivacyUnit = PrivacyUnit.image
    entropy: Entropy = Entropy.seed


@dataclass
class Optimizer:
    """An optimizer of torch or of your own, with its arguments."""

    name: str = chosen("Adam", "optimizers")  # any of torch.optim, or a class
    lr: float = bounded(2e-4, at_least=0)
    options: Dict[str, Any] = field(default_factory=dict)


@dataclass
class Scheduler:
    """A learning rate scheduler of torch or of your own, with its arguments."""

    name: Optional[str] = chosen("MultiStepLR", "schedulers")  # any of torch.optim.lr_scheduler, or a class; null: none
    interval: str = "epoch"  # epoch | step
    options: Dict[str, Any] = field(default_factory=lambda: {"milestones": [8, 16, 20]})


@dataclass
class Robustness:
    """PI, OLS and LI. The decision: does the image show ``label`` or not?

    Attributes:
        thresholds: How the thresholds of all other labels are chosen, at every validation epoch; they are kept in the
            checkpoint.
        sensitivity: What ``thresholds: sensitivity`` asks for.
        box_score: Predicted boxes of at least this score count in LI and in OLS of boxes.
    """

    task: str = "covidx"
    label: str = "COVID-19"
    decision: DecisionRule = DecisionRule.threshold
    threshold: float = bounded(0.5, above=0, at_most=1)  # probability at and above which the decision is positive
    thresholds: ThresholdRule = ThresholdRule.fixed
    sensitivity: float = bounded(0.9, above=0, at_most=1)
    box_score: float = bounded(0.5, at_least=0, at_most=1)
    eta: float = bounded(0.4, above=0, at_most=1)  # IOL below which a region is out of the lungs (Eq. 4)
    region_threshold: float = bounded(0.5, above=0, at_most=1)  # share of the heat map's maximum
    target: Target = Target.decision
    # of the heat map: gradcam | guided_gradcam | a CAM method of pytorch-grad-cam (eigencam ...) | a class of your own
    engine: str = chosen("gradcam", "engines")
    layer: Optional[str] = None  # explained module, e.g. backbone.network.layer3; null: the base network's last map
    batch_size: int = bounded(16, at_least=1)
    overlays: int = bounded(6, at_least=0)  # pairs drawn as pictures at every validation epoch


class Keep(Enum):
    """Which checkpoints a finished run keeps."""

    best = "best"  # the best epoch's weights
    all = "all"  # also the last one, with optimizer and loops: to resume the run with more epochs, say


@dataclass
class Checkpoint:
    """How often a training is saved, so that it can resume after an interruption, and what is kept when it has ended.

    Attributes:
        every_minutes: Minutes of training between two checkpoints; there is one at every epoch's end and before every
            validation anyway. The first one in a start comes after 50 steps, which tell how fast it is.
        every_n_steps: Optimizer steps between two checkpoints, instead.
    """

    every_minutes: float = bounded(10.0, above=0)
    every_n_steps: Optional[int] = bounded(None, at_least=1)
    keep: Keep = Keep.best


@dataclass
class Experiment:
    """What ``covidmt train`` runs.

    Attributes:
        active_tasks: The tasks to learn, in order, the first is the primary one; null: all.
        trainer: Arguments of Lightning's Trainer; ``{class_path: ..., init_args: {...}}`` makes an object. And
            ``detect_nonfinite``: ``stop`` (the default) ends a training at its first loss that is NaN or infinite,
            ``warn`` goes on.

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

    @property
    def readable(self) -> list[Task]:
        """The active tasks whose answers covidmt reads: all but those of kind ``custom``."""
        return [task for task in self.active if task.kind is not TaskKind.custom]
