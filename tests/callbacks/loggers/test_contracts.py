import numpy as np

from callbacks.loggers.contracts import LoggedAt, LogsPictures, LogsTables, table_file
from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.untracked import UntrackedLogger
from metrics.paired import TEST_PAIRS, VAL_PAIRS


def test_mlflow_takes_both_and_no_tracking_neither():
    assert issubclass(MlflowSpoolLogger, LogsPictures)
    assert issubclass(MlflowSpoolLogger, LogsTables)
    assert not issubclass(UntrackedLogger, LogsPictures)
    assert not issubclass(UntrackedLogger, LogsTables)


def test_reports_find_the_tables_where_they_are_logged():
    assert table_file("robustness/val_pairs", LoggedAt("val", 7, 0)) == VAL_PAIRS.format(7)
    assert table_file("robustness/test_pairs", LoggedAt("test", 7, 0)) == TEST_PAIRS


def test_own_methods_are_enough():
    class Own:
        def log_pictures(self, pictures, at):
            self.keys = [*pictures]

    own = Own()
    assert isinstance(own, LogsPictures)
    own.log_pictures({"gradcam/00": np.zeros((2, 2, 3), np.uint8)}, LoggedAt("val", 0, 0))
    assert own.keys == ["gradcam/00"]
