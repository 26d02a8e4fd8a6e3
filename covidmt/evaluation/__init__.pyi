from .evaluate import evaluate as evaluate
from .result import Evaluation as Evaluation
from .result import RunEvaluation as RunEvaluation
