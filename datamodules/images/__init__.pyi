from .augment import seeded as seeded
from .augment import training_transform as training_transform
from .cache import ImageCache as ImageCache
from .decode import resize as resize
from .mask_files import read_mask as read_mask
from .mask_files import write_mask as write_mask
from .masks import LungMasks as LungMasks
