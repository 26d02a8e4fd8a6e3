from .spool import Origin as Origin
from .spool import Spool as Spool
