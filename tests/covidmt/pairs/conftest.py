import pytest

from tests.helpers.pairs import draw


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    for index, name in enumerate(("COVID-19", "normal", "normal", "normal")):
        (root / name).mkdir(parents=True, exist_ok=True)
        draw(index).save(root / name / f"film {index}.png")
    return root
