"""Columns of a result as a pandas frame, or where pandas is not installed as a small table."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.results.csv_text import csv_text

if TYPE_CHECKING:
    import pandas

    Frame: TypeAlias = "pandas.DataFrame | Table"


@dataclass(frozen=True)
class Table:
    """Named columns of one length; the first names the rows.

    `table["clip"]` is a column, `list(table)` the rows as dicts, `to_csv` the text of a file.
    """

    columns: Mapping[str, Sequence[object]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, column: str) -> list[object]:
        return list(self.columns[column])

    def __iter__(self) -> Iterator[dict[str, object]]:
        for row in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, row, strict=True))

    def to_csv(self) -> str:
        """Comma-separated, a line of the columns' names first; nothing where a cell is None."""
        return csv_text(list(self.columns), (list(row.values()) for row in self))

    def __repr__(self) -> str:
        cells = [list(self.columns), *([_shown(v) for v in row.values()] for row in self)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
            for row in cells
        )

    def _repr_html_(self) -> str:
        return html_table(list(self.columns), [[_shown(v) for v in row.values()] for row in self])


def frame(columns: Mapping[str, Sequence[object]]) -> Frame:
    """The columns as a pandas DataFrame whose index is the first, or as a Table without pandas.

    Whole numbers of which some are None stay whole.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return Table(dict(columns))
    made = {name: _whole(values) for name, values in columns.items()}
    return pd.DataFrame(made).set_index(next(iter(columns)))


def _whole(values: Sequence[object]) -> object:
    """Whole numbers with gaps as pandas keeps them whole, any others as they are."""
    import pandas as pd

    there = [value for value in values if value is not None]
    if len(there) == len(values) or not there or not all(type(v) is int for v in there):
        return list(values)
    return pd.array(list(values), dtype="Int64")


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table for a notebook, its texts escaped; the first column is of names."""
    text = [f"<table><caption>{html.escape(caption)}</caption>" if caption else "<table>"]
    text.append(f"<thead><tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>")
    text.append("</thead><tbody>")
    for first, *others in rows:
        cells = "".join(f'<td style="text-align:right">{html.escape(one)}</td>' for one in others)
        text.append(f'<tr><th style="text-align:left">{html.escape(first)}</th>{cells}</tr>')
    return "\n".join([*text, "</tbody></table>"])
