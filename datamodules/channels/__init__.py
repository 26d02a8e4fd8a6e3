"""Channels: what happens to an X-ray between the doctor who sends it and the model.

`phone_apps` simulates WhatsApp and other messaging apps, `screen` a screenshot and a photo of a monitor; `encodings`
has plain steps (scale, JPEG, WebP), `chance` draws a channel's numbers for each image, and `registry` finds a channel
by its name.

For use from outside: `get_channel`, `draw_channel`, `Channel`, `CHANNELS`, `whatsapp`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
