"""The figures of a preference study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.drawing import INK, LINE, cut, picture, plain, shade, titled
from bench.statistics.printed import number
from bench.study import words
from bench.study.analysis import PairLine, PanelFigures, StrengthLine
from bench.study.words import percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WIDTH, EDGE, LABELS, FOOT = 360, 4, 122, 26  # units are 1/72 inch
PAIR, BAR_TOP, BAR = 42, 16, 13  # height of a pair, where its bar begins, and the bar's height
ROW = 24
PAIRS_MOST = 8  # in one picture; the PDF sets two beside each other
PAPER, FOR_A, FOR_B = "paper", "c0", "c1"


def preferences(panel: PanelFigures) -> list[str]:
    """Every pair as a bar: votes for a, neither, for b; whiskers are the interval of a's share.

    An open circle is what a simulated panel's votes come to in the long run.
    """
    shown = [pair for pair in panel.pairs if pair.votes]
    parts = [shown[i : i + PAIRS_MOST] for i in range(0, len(shown), PAIRS_MOST)]
    return [_bars(panel, part) for part in parts]


def strengths(panel: PanelFigures) -> str | None:
    """Bradley-Terry strengths with 95 % intervals; None where there are none."""
    lines = panel.strengths
    if not lines:
        return None
    reach = max(max(abs(line.low), abs(line.high), abs(line.known or 0.0)) for line in lines)
    bottom = ROW * len(lines)

    def drawn(axes: Axes) -> None:
        for i, line in enumerate(lines):
            _strength(axes, line, ROW * (i + 0.5))
        axes.set_yticks([ROW * (i + 0.5) for i in range(len(lines))], [cut(x.name) for x in lines])
        axes.tick_params(axis="y", labelcolor=shade(INK))
        axes.set_ylim(bottom, 0)
        axes.set_xlim(-1.05 * reach or -1, 1.05 * reach or 1)
        axes.set_xticks([-reach, 0, reach], [number(v, 1) for v in (-reach, 0, reach)])
        axes.grid(axis="x")

    said = "; ".join(" ".join(words.strength_row(line)) for line in lines)
    label = f"Strengths{words.mark(panel)} with 95 % intervals: {said}"
    return picture((WIDTH, bottom + 4 + FOOT), (LABELS, 18, 4, FOOT), label, drawn)


def _bars(panel: PanelFigures, pairs: Sequence[PairLine]) -> str:
    height = PAIR * len(pairs)

    def drawn(axes: Axes) -> None:
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(height, 0)
        for i, pair in enumerate(pairs):
            titled(_words(pair), _bar(axes, pair, PAIR * i))

    said = " ".join(f"{_words(pair)}." for pair in pairs)
    label = f"Preference by pair{words.mark(panel)}. {said}"
    return picture((WIDTH, height), (EDGE, EDGE, 0, 0), label, drawn)


def _bar(axes: Axes, pair: PairLine, top: float) -> list[Artist]:
    """Names with their shares above, counts as widths, and the whisker on them."""
    other = percent(None if pair.share is None else 1 - pair.share)
    for x, side, name, text in (
        (0, "left", pair.a, f"{pair.a}  {percent(pair.share)}"),
        (1, "right", pair.b, f"{other}  {pair.b}"),
    ):
        weight = "bold" if pair.preferred == name else "normal"
        axes.text(x, top + BAR_TOP - 5, plain(text), ha=side, weight=weight)
    made: list[Artist] = []
    left = 0.0
    for votes, colour in ((pair.a_wins, FOR_A), (pair.ties + pair.both_bad, LINE),
                          (pair.b_wins, FOR_B)):  # fmt: skip
        width = votes / pair.votes
        if votes:
            sides = [left, left + width, left + width, left]
            ends = [top + BAR_TOP, top + BAR_TOP, top + BAR_TOP + BAR, top + BAR_TOP + BAR]
            made += axes.fill(sides, ends, color=shade(colour), linewidth=0)
        left += width
    return made + _whisker(axes, pair, top + BAR_TOP + BAR / 2)


def _whisker(axes: Axes, pair: PairLine, y: float) -> list[Artist]:
    if pair.low is None or pair.high is None or pair.share is None:
        return []
    made: list[Artist] = []
    for colour, width in ((PAPER, 4.5), (INK, 1.8)):
        made += axes.plot([pair.low, pair.high], [y, y], color=shade(colour), linewidth=width,
                          solid_capstyle="butt")  # fmt: skip
    made += axes.plot(pair.share, y, "o", color=shade(INK), markersize=6.8)
    return [*made, *_known(axes, pair.known, y)]


def _strength(axes: Axes, line: StrengthLine, y: float) -> None:
    made = axes.plot([line.low, line.high], [y, y], color=shade(FOR_A), linewidth=2, alpha=0.55)
    made += axes.plot(line.value, y, "o", color=shade(FOR_A), markersize=6.8)
    titled(" ".join(words.strength_row(line)), [*made, *_known(axes, line.known, y)])


def _known(axes: Axes, value: float | None, y: float) -> Sequence[Artist]:
    """An open circle at the expected share of a simulated panel."""
    if value is None:
        return []
    return axes.plot(value, y, "o", markersize=10.4, markerfacecolor="none", markeredgewidth=1.3,
                     markeredgecolor=shade(INK))  # fmt: skip


def _words(pair: PairLine) -> str:
    share = f"{percent(pair.share)} {words.between(pair)}" if pair.low is not None else "\u2013"
    return f"{pair.a} preferred to {pair.b}: {share}, {pair.votes} votes"
