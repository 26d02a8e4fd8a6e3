import pytest

from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import NAMES, make_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationDataModule:
    """24 images of 24 patients, half of them positive, in class folders; one has a name that is a script."""
    return make_data(tmp_path_factory.mktemp("images"), NAMES)
