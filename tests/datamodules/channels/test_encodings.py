import numpy as np
import pytest

from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode
from tests.helpers.films import luma, noise


@pytest.mark.parametrize(
    ("step", "table", "sampling"),
    [("jpeg:95", 2, (2, 2)), ("jpeg:50:4:2:2", 16, (2, 1)), ("jpeg:10:4:4:4", 80, (1, 1))],
)
def test_quality_and_subsampling_of_a_step(step, table, sampling):
    assert luma(get_channel(step)(noise(32, 32))) == (table, sampling)


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_a_lower_quality_is_a_smaller_file_and_a_larger_error(mini_cxr, name):
    image = decode(sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))[0])
    sent = [get_channel(f"{name}:{quality}")(image) for quality in (1, 30, 70, 100)]
    errors = [np.abs(decode(file).astype(int) - image).mean() for file in sent]
    assert sorted(sent, key=len) == sent
    assert sorted(errors, reverse=True) == errors
