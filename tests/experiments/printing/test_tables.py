import io

import pytest
from rich.console import Console
from rich.text import Text

from experiments.names import Terminal
from experiments.printing.tables import WholeTable
from tests.helpers import house

WORDS = ["timm:tf_efficientnet_lite0", "trials/12345678/12345678_0_log.out", "pneumonia", "0.912", "[0.800,", "0.960]"]


def _table(**settings) -> WholeTable:
    table = WholeTable(title="the scores", title_justify="left", **settings)
    for heading, justify in (("", "left"), ("network", "left"), ("best val\n(epoch 3)", "right"), ("log", "left")):
        table.add_column(heading, justify=justify, overflow="fold" if heading == "log" else "ellipsis")
    table.add_row("pneumonia", WORDS[0], "0.912 [0.800, 0.960]", Text(WORDS[1], "red"))
    table.add_section()
    table.add_row("", "resnet18", "0.5", "", style="red")
    return table


def _printed(console: Console, table: WholeTable) -> str:
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("box", [{}, {"box": None, "pad_edge": False}])
@pytest.mark.parametrize("width", [20, 34, 40, 60, 80, 120, 1000])
def test_no_width_cuts_a_word(width, box):
    text = _printed(Console(file=io.StringIO(), width=width), _table(**box))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in WORDS[2:] if width < 60 else [word for word in WORDS if "/" not in word]:
        assert word in text


def test_a_narrow_terminal_has_a_list():
    text = _printed(Console(file=io.StringIO(), width=50), _table())
    assert [line.rstrip() for line in text.splitlines()] == [
        "the scores",
        "pneumonia",
        "  network             timm:tf_efficientnet_lite0",
        "  best val (epoch 3)  0.912 [0.800, 0.960]",
        "  log                 trials/12345678/12345678_0_l",
        "                      og.out",
        "  network             resnet18",
        "  best val (epoch 3)  0.5",
    ]


def test_a_file_has_the_whole_width(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert f"{WORDS[0]} │ 0.912 [0.800, 0.960] │ {WORDS[1]}" in _printed(Terminal(file=io.StringIO()), _table())
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, _printed(Terminal(file=io.StringIO()), _table()).splitlines())) <= 30


def test_a_table_is_printed_twice_alike():
    table = _table()
    narrow = _printed(Console(file=io.StringIO(), width=90), table)
    assert len(_printed(Console(file=io.StringIO(), width=200), table).splitlines()) < len(narrow.splitlines())
    assert _printed(Console(file=io.StringIO(), width=90), table) == narrow


def test_every_table_of_the_project_is_whole():
    found = [house.name(path) for path in house.modules() if "rich.table import" in path.read_text()]
    assert found == ["experiments/printing/tables.py"]
