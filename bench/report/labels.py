"""Labels at the points of a figure, put where they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE, CHARACTER, DOT, GAP = 9.5, 5.8, 6.4, 2.0  # points; a character's width in text of that size
Area = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Label:
    """A word at a point (x, y) of the data, whose whisker goes from `low` to `high`."""

    text: str
    x: float
    y: float
    low: float
    high: float
    colour: str


def place(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label above its whisker, else below, right or left of it; one that finds no room
    is left out. The limits of the axes must stand."""
    taken = [_around(*_at(axes, label.x, label.y), DOT, DOT) for label in labels]
    for label in labels:
        free = (area for area in _areas(axes, label) if not any(_meet(area, t) for t in taken))
        area = next(free, None)
        if area is None:
            continue
        taken.append(area)
        x, y = _at(axes, label.x, label.y)
        middle = (area[0] + area[2]) / 2 - x, (area[1] + area[3]) / 2 - y
        axes.annotate(label.text, (label.x, label.y), middle, fontsize=SIZE, color=label.colour,
                      ha="center", va="center_baseline", textcoords="offset points")  # fmt: skip


def _areas(axes: Axes, label: Label) -> Iterator[Area]:
    width, height = CHARACTER * len(label.text), 0.8 * SIZE
    x, y = _at(axes, label.x, label.y)
    (_, low), (_, high) = _at(axes, label.x, label.low), _at(axes, label.x, label.high)
    up, aside = height / 2 + GAP, (DOT + width) / 2 + GAP
    for centre in ((x, max(high, y + DOT / 2) + up), (x, min(low, y - DOT / 2) - up),
                   (x + aside, y), (x - aside, y)):  # fmt: skip
        yield _around(*centre, width, height)


def _at(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A point of the data in points of the page."""
    found = axes.transData.transform((x, y)) * 72 / axes.figure.dpi
    return float(found[0]), float(found[1])


def _around(x: float, y: float, width: float, height: float) -> Area:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _meet(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
