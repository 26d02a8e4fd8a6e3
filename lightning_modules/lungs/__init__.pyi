from .encoder import build_unet as build_unet
from .segmenters import Segmenter as Segmenter
from .segmenters import load_segmenter as load_segmenter
from .segmenters import load_unet as load_unet
from .segmenters import segmenter_id as segmenter_id
from .unet import LungUNet as LungUNet
