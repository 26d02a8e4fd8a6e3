from types import SimpleNamespace

from covidmt.comparison.configurations import Configuration, Mean
from covidmt.comparison.privacy import draw_trade_off


def configuration(epsilon: float | None, *values: float) -> Configuration:
    trials = [SimpleNamespace(metrics={} if epsilon is None else {"test/epsilon": epsilon}) for _ in values]
    mean = Mean(sum(values) / len(values), min(values), max(values), list(values))
    return Configuration("", "net", ["covid"], frozenset(), trials, {"accuracy": mean})  # ty: ignore


def test_scores_lie_at_the_epsilon_spent():
    plain, strong, weak = configuration(None, 90, 92), configuration(1.0, 60, 64), configuration(8.0, 80, 82)
    figure = draw_trade_off([weak, plain, strong], "test")
    assert figure is not None
    (axis,) = figure.axes
    drawn = [(float(line.get_xdata()[0]), sorted(line.get_ydata())) for line in axis.lines if line.get_marker() == "o"]
    assert drawn == [(1.0, [60, 64]), (8.0, [80, 82])]
    assert axis.get_xscale() == "log"
    assert any(list(line.get_ydata()) == [91, 91] for line in axis.lines)
    assert draw_trade_off([plain], "test") is None
    assert draw_trade_off([strong], "val") is None
