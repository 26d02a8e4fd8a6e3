"""Tables that no terminal cuts, however narrow it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.style import StyleType
from rich.table import Column, Table

_ANY = 10_000  # columns: more than any line has
_FOLDED = 16  # columns that the pieces of a broken word have at least


class WholeTable(Table):
    """A table of which no cell is cut: it breaks lines between words, and where these have no room it is a list.

    In columns with ``overflow="fold"``, as of paths, words are broken too before it becomes a list.

    As a list, each row is its name, which is what stands in columns without a heading, or else in the first column;
    below it there is a line for each of its other cells.

    >>> table = WholeTable("class", "images", "remark", box=None, pad_edge=False)
    >>> table.add_row("pneumonia", "1,250", "most are PNG files")
    >>> Console(width=32).print(table)
    class      images  remark
    pneumonia  1,250   most are PNG
                       files
    >>> Console(width=20).print(table)
    pneumonia
      images  1,250
      remark  most are
              PNG files
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table with widths that fit, or the list."""
        wide = options.update(width=_ANY)
        for column in self.columns:
            column.width = None
        ranges = [_measure(console, wide, column) for column in self.columns]
        frame = Measurement.get(console, wide, self).maximum - sum(each.maximum for each in ranges)

        # widths, without the frame: as wide as the content, or what there is, shared
        room = options.max_width - frame
        if sum(each.minimum for each in ranges) > room:
            yield Group(*_list_rows(self))
            return
        if sum(each.maximum for each in ranges) > room:
            for column, width in zip(self.columns, _share(ranges, room), strict=True):
                column.width = width
        yield from super().__rich_console__(console, options)


def _measure(console: Console, options: ConsoleOptions, column: Column) -> Measurement:
    """Return the least width of a column, its longest word's, and the width of its longest line."""
    cells = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    word, line = max(cell.minimum for cell in cells), max(cell.maximum for cell in cells)
    if column.no_wrap:
        return Measurement(line, line)
    return Measurement(min(word, _FOLDED) if column.overflow == "fold" else word, line)


def _share(ranges: Sequence[Measurement], room: int) -> list[int]:
    """Return a width of each column: its longest word's, and what is left goes to the narrowest first.

    >>> _share([Measurement(2, 3), Measurement(4, 20), Measurement(4, 30)], 25)
    [3, 11, 11]
    """
    widths = [each.minimum for each in ranges]
    while sum(widths) < room:
        growing = [index for index, each in enumerate(ranges) if widths[index] < each.maximum]
        if not growing:
            break
        widths[min(growing, key=widths.__getitem__)] += 1
    return widths


def _list_rows(table: Table) -> Iterator[RenderableType]:
    """Yield the title, and each row as its name and lines of heading and cell."""
    if table.title:
        yield Padding(table.title, 0, style="table.title", expand=False)
    headings = [" ".join(str(column.header).split()) for column in table.columns]
    named = [index for index, heading in enumerate(headings) if not heading] or [0]
    for row, *cells in zip(table.rows, *(column.cells for column in table.columns), strict=True):
        name = [cells[index] for index in named if str(cells[index]).strip()]
        if name:
            yield _lines([name], "bold")
        others = [index for index in range(len(cells)) if index not in named and str(cells[index]).strip()]
        if others:
            lines = _lines([[headings[index], cells[index]] for index in others], row.style or "")
            yield Padding(lines, (0, 0, 0, 2), expand=False)


def _lines(rows: Sequence[Sequence[RenderableType]], style: StyleType) -> Table:
    """Return rows of equally many cells without a frame."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    for _ in rows[0]:
        lines.add_column(overflow="fold", style=style)
    for row in rows:
        lines.add_row(*row)
    return lines
