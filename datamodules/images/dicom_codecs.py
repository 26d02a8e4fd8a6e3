"""JPEG lossless, 12-bit JPEG and JPEG-LS of DICOM files, by imagecodecs.

pydicom's own plugins for these are GPL (pylibjpeg-libjpeg), refuse 12-bit JPEG (GDCM), or know JPEG-LS alone
(pyjpegls). This module is a plugin as pydicom asks for them; it is given to decoders of our own, so that pydicom's
stay as they are.
"""

from __future__ import annotations

import functools

from imagecodecs import jpeg8_decode, jpegls_decode, jpegsof3_decode
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless

DECODER_DEPENDENCIES = {
    JPEGLossless: ("imagecodecs",),
    JPEGLosslessSV1: ("imagecodecs",),
    JPEGExtended12Bit: ("imagecodecs",),
    JPEGLSLossless: ("imagecodecs",),
    JPEGLSNearLossless: ("imagecodecs",),
}


@functools.cache
def codec(syntax: UID) -> Decoder:
    """Return a pydicom decoder that decompresses by :func:`decode_frame`.

    Args:
        syntax: One of :data:`DECODER_DEPENDENCIES`.

    Example:
        >>> codec(JPEGLSLossless).available_plugins
        ('imagecodecs',)
    """
    decoder = Decoder(syntax)
    decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
    return decoder


def is_available(syntax: UID) -> bool:
    """Return whether this plugin decompresses the transfer syntax; pydicom asks."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytearray:
    """Return the stored values of a compressed frame, row by row, 8 or 16 bits each; pydicom calls it.

    Raises:
        Exception: As imagecodecs raises them, where the frame is broken.
    """
    if runner.transfer_syntax in (JPEGLossless, JPEGLosslessSV1):
        values = jpegsof3_decode(frame)  # unlike libjpeg-turbo it refuses a frame that is cut short
    elif runner.transfer_syntax == JPEGExtended12Bit:
        values = jpeg8_decode(frame)
    else:
        values = jpegls_decode(frame)

    runner.set_option("bits_allocated", 8 * values.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytearray(values.tobytes())
