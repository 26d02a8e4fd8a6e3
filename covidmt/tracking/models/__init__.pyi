from .logged import ModelEntry as ModelEntry
from .logged import deliver_model as deliver_model
