from .masks import prepare_masks as prepare_masks
from .scores import cross_validate as cross_validate
from .scores import dice as dice
from .scores import score_segmenter as score_segmenter
from .segment import export_segmenter as export_segmenter
from .segment import segment_files as segment_files
from .segment import write_masks as write_masks
from .train import train_lungs as train_lungs
