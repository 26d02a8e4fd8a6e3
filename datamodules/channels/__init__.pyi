from .chance import draw_channel as draw_channel
from .phone_apps import whatsapp as whatsapp
from .registry import CHANNELS as CHANNELS
from .registry import Channel as Channel
from .registry import get_channel as get_channel
