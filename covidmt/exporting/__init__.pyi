from .export import export as export
from .package import write_model as write_model
from .pyfunc import PyfuncPredictor as PyfuncPredictor
