from .checkpoints import find_checkpoint as find_checkpoint
from .folders import RunFolder as RunFolder
from .logger import MlflowSpoolLogger as MlflowSpoolLogger
from .sender import sync as sync
from .store import Store as Store
