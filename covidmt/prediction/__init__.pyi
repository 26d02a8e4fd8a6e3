from .answer import NOTICE as NOTICE
from .answer import Prediction as Prediction
from .answer import Sentence as Sentence
from .predict import predict_images as predict_images
from .predictor import ExplainedImage as ExplainedImage
from .predictor import Predictor as Predictor
from .predictor import open_predictor as open_predictor
