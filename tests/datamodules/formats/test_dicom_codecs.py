import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from imagecodecs import jpeg8_encode, jpegls_encode
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from datamodules.formats.dicom_codecs import FrameShape, decompress
from datamodules.images.decode import decode
from experiments.errors import UserError
from tests.helpers.dicom_files import ENCODERS, dicom_bytes

PYDICOMS = Path(pydicom.__file__).parent / "data" / "test_files"


def shades(bits: int) -> np.ndarray:
    y, x = np.mgrid[:37, :53]
    smooth = (np.sin(x / 9) + np.cos(y / 13) + 2) / 4 * (2**bits - 1)
    noise = np.random.default_rng(0).normal(0, 2**bits / 200, smooth.shape)
    return (smooth + noise).clip(0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)


def stored(data: bytes) -> np.ndarray:
    dataset = pydicom.dcmread(io.BytesIO(data))
    shape = FrameShape(dataset.Rows, dataset.Columns, 1, dataset.BitsAllocated)
    return decompress(
        get_frame(dataset.PixelData, 0, number_of_frames=1), dataset.file_meta.TransferSyntaxUID, shape
    ).words


def lossless(values: np.ndarray, bits: int, predictor: int = 1) -> bytes:
    return jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_lossless_gives_every_stored_value(bits: int):
    values = shades(bits)
    for predictor in range(1, 8):
        syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
        data = dicom_bytes(values, bits=bits, syntax=syntax, frame=lossless(values, bits, predictor))
        assert np.array_equal(stored(data), values), predictor
    assert np.array_equal(
        stored(dicom_bytes(values, bits=bits, syntax=JPEGLSLossless, frame=jpegls_encode(values))), values
    )
    near = stored(dicom_bytes(values, bits=bits, syntax=JPEGLSNearLossless, frame=jpegls_encode(values, level=2)))
    assert 0 < np.abs(near.astype(int) - values).max() <= 2


def test_signed_values():
    values = shades(12).astype(np.int16) - 2048
    frame = lossless((values & 0xFFF).astype(np.uint16), 12)
    words = stored(dicom_bytes(values, bits=12, syntax=JPEGLosslessSV1, frame=frame))
    assert np.array_equal(words, values & 0xFFF)  # two's complement of 12 bits


def test_12_bits_in_a_lossy_jpeg():
    values = shades(12)
    frame = jpeg8_encode(values, level=98, bitspersample=12)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    data = dicom_bytes(values, bits=12, syntax=JPEGExtended12Bit, frame=frame, **window)
    assert np.abs(stored(data).astype(int) - values).max() < 40
    assert np.abs(decode(data).astype(int) - values / 4095 * 255).max() < 3


def test_files_of_other_programs():
    """What pydicom brings; the reference decoder of the JPEG committee gave the numbers."""
    whole, compressed = (PYDICOMS / f"MR_small{name}.dcm" for name in ("", "_jpeg_ls_lossless"))
    assert np.array_equal(stored(compressed.read_bytes()), pixel_array(whole))
    extended = stored((PYDICOMS / "JPGExtended.dcm").read_bytes())
    assert extended.shape == (1024, 256)
    assert np.abs(extended[420, 140:145].astype(int) - [244, 242, 249, 260, 218]).max() <= 1


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless, JPEGExtended12Bit])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_frame_that_is_cut_short_is_refused(syntax: UID, share: float):
    values = shades(12)
    frame = ENCODERS[syntax](values, 12)
    data = dicom_bytes(values, bits=12, syntax=syntax, frame=frame[: int(share * len(frame))])
    with pytest.raises(UserError, match="not a readable image"):
        decode(data, "chest.dcm")


def test_a_jpeg_ls_frame_without_its_end_is_not_decoded_at_all():
    """CharLS takes seconds to refuse it."""
    frame = jpegls_encode(shades(12))
    with pytest.raises(ValueError, match="its JPEG-LS frame is cut short"):
        decompress(frame[:-2], JPEGLSLossless, FrameShape(37, 53, 1, 16))
    assert np.array_equal(decompress(frame + bytes(2), JPEGLSLossless, FrameShape(37, 53, 1, 16)).words, shades(12))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_as_the_reference_decoder(bits: int):
    """Where the extra gpl-decoders is installed."""
    pytest.importorskip("libjpeg")
    values = shades(bits)
    frames = {JPEGLosslessSV1: lossless(values, bits), JPEGLSLossless: jpegls_encode(values)}
    frames[JPEGLSNearLossless] = jpegls_encode(values, level=2)
    for syntax, frame in frames.items():
        data = dicom_bytes(values, bits=bits, syntax=syntax, frame=frame)
        reference = pixel_array(pydicom.dcmread(io.BytesIO(data)), decoding_plugin="pylibjpeg")
        assert np.array_equal(stored(data), reference)
    if bits == 12:  # lossy: another rounding
        data = dicom_bytes(values, bits=12, syntax=JPEGExtended12Bit, frame=jpeg8_encode(values, bitspersample=12))
        reference = pixel_array(pydicom.dcmread(io.BytesIO(data)), decoding_plugin="pylibjpeg")
        assert np.abs(stored(data).astype(int) - reference).max() <= 1


@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, JPEGExtended12Bit, JPEGBaseline8Bit]
)
def test_a_frame_of_another_size_is_refused_before_it_is_decompressed(syntax: UID):
    values = shades(8 if syntax == JPEGBaseline8Bit else 12)
    frame = ENCODERS[syntax](values, 12)
    for rows, columns in ((37, 54), (36, 53)):
        with pytest.raises(ValueError, match="53 x 37"):
            decompress(frame, syntax, FrameShape(rows, columns, 1, 16))
    with pytest.raises(ValueError, match="3 values a pixel"):
        decompress(frame, syntax, FrameShape(37, 53, 3, 16))


def test_rle_gives_no_more_than_its_size():
    """A run of zeros that would fill gigabytes."""
    segment = b"\x81\x00" * 100_000
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + segment
    with pytest.raises(Exception, match="OUTPUT_TOO_SMALL"):
        decompress(frame, RLELossless, FrameShape(10, 10, 1, 8))
