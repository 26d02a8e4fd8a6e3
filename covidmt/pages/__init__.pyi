from .html import data_uri as data_uri
from .html import page_environment as page_environment
from .style import Plot as Plot
from .style import page_style as page_style
