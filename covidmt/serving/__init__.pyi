from .app import make_app as make_app
from .service import FilmService as FilmService
