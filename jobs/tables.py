"""A report's table in a terminal: as it is where the width allows, else upright, each row a block of lines."""

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from pipeline.report.table import Table, plain

GAP = 2


def fitted(table: Table, width: int) -> Grid | Group:
    """Of a table that is wider than `width` columns, a block for each row: its first cell, then name and value."""
    cells = [[str(plain(cell)) for cell in row] for row in table.rows]
    longest = [max(map(len, column)) for column in zip(table.columns, *cells, strict=True)]
    if sum(longest) + GAP * (len(longest) - 1) <= width:
        return _grid(table.columns, cells)
    return Group(*(block for row in cells for block in _upright(table.columns, row)))


def _grid(columns: tuple[str, ...] | list[str], rows: list[list[str]]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    numeric = {
        name
        for name, *cells in zip(columns, *rows, strict=True)
        if all(cell[:1].isdigit() for cell in cells if cell) and name != columns[0]
    }
    for column in columns:
        grid.add_column(column, justify="right" if column in numeric else "left")
    for row in rows:
        grid.add_row(*row)
    return grid


def _upright(columns: tuple[str, ...] | list[str], row: list[str]) -> tuple[Text, Grid]:
    grid = Grid(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for column, cell in zip(columns[1:], row[1:], strict=True):
        grid.add_row(f"  {column}", cell)
    return Text(row[0], style="bold"), grid
