from .channels.registry import get_channel as get_channel
from .images.decode import decode as decode
from .images.decode import resize as resize
from .images.masks import LungMasks as LungMasks
from .lungs import LungDataModule as LungDataModule
from .multitask import MultiTaskDataModule as MultiTaskDataModule
from .pairs import PairDataset as PairDataset
from .sampler import StepSampler as StepSampler
