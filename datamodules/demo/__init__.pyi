from .anatomy import Anatomy as Anatomy
from .phantom import Chest as Chest
from .phantom import draw_chest as draw_chest
from .write import write_demo as write_demo
