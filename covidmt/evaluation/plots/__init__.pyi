from .draw import draw_plots as draw_plots
