"""A trained network for others to use: MLflow's model with its card, ONNX, torch.export, safetensors.

`pyfunc` is what MLflow loads, `package` its folder, `card` what is said of it; `networks` writes the networks alone and
`export` is ``covidmt export``. The names in ``__all__`` are for use from outside; they are imported when they are first
asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
