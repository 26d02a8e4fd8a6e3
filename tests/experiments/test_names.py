import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from experiments.errors import UserError
from experiments.names import Terminal, harmless_cell, harmless_table, name_key, printable, restore_cell


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("film 1.png", "film 1.png"),
        ("Röntgen—左.png", "Röntgen—左.png"),
        ("at 1.05\u202fPM\u00a0.png", "at 1.05\u202fPM\u00a0.png"),  # blanks of any width stay
        ("a\nb\r.png", r"a\nb\r.png"),
        ("a\x1b[2J\x07.png", r"a\x1b[2J\x07.png"),
        ("a\x9b2J.png", r"a\x9b2J.png"),  # an escape sequence in one byte
        ("a\u202egnp.exe", r"a\u202egnp.exe"),  # turns the direction of writing
        ("a\u2028b.png", r"a\u2028b.png"),
        ("R\udcf6ntgen.png", r"R\udcf6ntgen.png"),  # no UTF-8
    ],
)
def test_what_is_shown_of_a_name(name: str, shown: str):
    assert printable(name) == shown
    assert printable(shown) == shown


@given(st.text())
def test_nothing_steers_a_terminal(text: str):
    shown = printable(text, keep="\n")
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown.replace("\n", ""))
    shown.encode()  # can be written anywhere
    assert len(shown.splitlines()) <= text.count("\n") + 1


def test_spellings_of_one_name():
    assert name_key("Ro\u0308ntgen.PNG") == name_key("röntgen.png") == name_key("R\u00d6NTGEN.Png")
    assert name_key("film1.png") != name_key("film2.png")


@given(st.text())
def test_cells_are_harmless_and_come_back(text: str):
    cell = harmless_cell(text)
    assert cell[:1] not in tuple("=+-@\t\r")
    assert restore_cell(cell) == text
    written = io.StringIO(newline="")
    csv.writer(written).writerow([cell, "x"])
    assert next(csv.reader(io.StringIO(written.getvalue(), newline=""))) == [cell, "x"]


def test_numbers_of_a_table_stay_numbers():
    table = pd.DataFrame({"id": ["=cmd()", "a.png"], "score": [-0.5, 1.0], "flag": [True, False], "who": [None, "@x"]})
    text = harmless_table(table).to_csv(index=False)
    assert text.splitlines() == ["id,score,flag,who", "'=cmd(),-0.5,True,", "a.png,1.0,False,'@x"]


FOREIGN = "a\x1b[31m\x1b]0;title\x07\x9b2Jb.png"


def test_foreign_text_cannot_steer_the_terminal_and_styles_can():
    screen = io.StringIO()
    console = Terminal(file=screen, force_terminal=True, color_system="standard", width=100)
    console.print(f"[red]{FOREIGN.replace('[', chr(92) + '[')}[/red]")
    table = Table("name")
    table.add_row(FOREIGN.replace("[", r"\["))
    console.print(table)
    text = screen.getvalue()
    assert text.count(r"\x1b") == 4  # two in the line, two in the cell
    assert "\x1b[31m" in text  # rich's own red
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert "\x9b" not in text


def test_messages_have_no_escapes_either():
    assert str(UserError(f"{FOREIGN}: broken\n  and more")) == (
        r"a\x1b[31m\x1b]0;title\x07\x9b2Jb.png: broken" + "\n  and more"
    )
