"""Tables as CSV that reads back as it was, and in which no text is a formula to a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARK = "'"  # as a spreadsheet marks a text


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of comma-separated cells, empty for None.

    A text that begins as a formula does, or with an apostrophe, is led by one apostrophe: taken
    away, it is what it was.
    """
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in [heads, *rows]:
        cells = ["" if cell is None else _guarded(cell) for cell in row]
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if has_return else plain).writerow(cells)  # the plain one leaves \r bare
    return out.getvalue()


def _guarded(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith((*FORMULA, MARK)):
        return MARK + cell
    return cell
