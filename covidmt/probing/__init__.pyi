from .few_shot import few_shot as few_shot
from .linear import linear_probe as linear_probe
from .probe import probe_network as probe_network
