"""A run in Python and notebooks: its table, comparisons of two contestants, pictures."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from bench.errors import UsageError, nearest
from bench.report import runfiles, terminal, view
from bench.report.frame import frame, html_table
from bench.report.gallery import encoded
from bench.report.words import groups, metric_words
from bench.results.run_folder import RunFolder
from bench.results.summary import Comparison, Contestant, Summary
from bench.statistics import comparisons
from bench.statistics.comparisons import Scored
from bench.statistics.result import results_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from bench.report.frame import Frame

SHOWN = 12  # pictures of a contestant that a notebook shows
WIDTH = 120  # columns of a printed table


def known(summary: Summary, name: str) -> Contestant:
    """The contestant of a name. Raises UsageError."""
    try:
        return summary.contestant(name)
    except KeyError:
        names = [contestant.name for contestant in summary.contestants]
        raise UsageError(f"no contestant {name!r} in this run; {nearest(name, names)}") from None


def results(summary: Summary) -> Frame:
    """A row per contestant in the report's order: method, steps, images, each metric with the ends
    of its 95 % interval, milliseconds per image. Of several trainings the mean, as in the report.
    """
    rows = [c for _, members in groups(summary) for c in members]
    columns: dict[str, list[object]] = {
        "contestant": [c.name for c in rows],
        "method": [c.method for c in rows],
        "steps": [c.steps for c in rows],
        "n": [c.n for c in rows],
    }
    for metric in summary.metric_names():
        found = [_bounds(summary, c, metric) for c in rows]
        for place, name in enumerate((metric, f"{metric}_low", f"{metric}_high")):
            columns[name] = [one[place] for one in found]
    columns["ms_per_image"] = [
        None if c.seconds_per_image is None else 1000 * c.seconds_per_image.median for c in rows
    ]
    return frame(columns)


def _bounds(
    summary: Summary, contestant: Contestant, metric: str
) -> tuple[float | None, float | None, float | None]:
    value = contestant.metrics.get(metric)
    over = summary.over_trainings.get(contestant.name, {}).get(metric)
    if over is not None:
        return over.mean, over.low, over.high
    return (None, None, None) if value is None else (value.value, value.low, value.high)


def scores(summary: Summary, run: Path, metric: str) -> Frame:
    """A row per prompt, a column per contestant: the metric's scores of single prompts, the mean
    over seeds.

    Raises UsageError for a metric that the run does not have, or that has none of single prompts.
    """
    if metric not in summary.metric_names():
        raise UsageError(f"no metric {metric!r} in this run; "
                         f"{nearest(metric, summary.metric_names())}")  # fmt: skip
    files = runfiles.read(summary, run)
    if metric not in files.scores:
        raise UsageError(f"metric {metric!r} has no scores of single prompts; "
                         f"{nearest(metric, files.scores)}")  # fmt: skip
    columns: dict[str, list[object]] = {"prompt": files.ids.tolist()}
    columns |= {name: row.tolist() for name, row in
                zip(files.names, files.scores[metric], strict=True)}  # fmt: skip
    return frame(columns)


def as_html(summary: Summary) -> str:
    """The run's table for a notebook: values with intervals, bold as in the report."""
    metrics = summary.metric_names()
    arrows = ("\u2191" if view.any_value(summary, m).higher_is_better else "\u2193"
              for m in metrics)  # fmt: skip
    titles = (f"{metric_words(m).title} {arrow}" for m, arrow in zip(metrics, arrows, strict=True))
    heads = "".join(f"<th>{html.escape(t)}</th>" for t in ("contestant", *titles, "ms / image"))
    lines = ["<table>", f"<caption>{html.escape(summary.title or summary.suite)}</caption>",
             f"<thead><tr>{heads}</tr></thead>"]  # fmt: skip
    for _, rows in view.table(summary):
        lines += ["<tbody>", *(_html_row(row) for row in rows), "</tbody>"]
    return "\n".join([*lines, "</table>"])


def _html_row(row: view.TableRow) -> str:
    cells = [_html_cell(cell) for cell in row.cells]
    cells.append(row.milliseconds or "\u2013")
    name = html.escape(row.contestant.name)
    right = "".join(f'<td style="text-align:right">{cell}</td>' for cell in cells)
    return f'<tr><th style="text-align:left">{name}</th>{right}</tr>'


def _html_cell(cell: view.Cell | None) -> str:
    if cell is None:
        return "\u2013"
    value = f"<b>{cell.value}</b>" if cell.best else cell.value
    return f"{value}{cell.mark}<br><small>{html.escape(cell.interval)}</small>"


def as_text(summary: Summary) -> str:
    """The run's table as printed in a terminal."""
    text = io.StringIO()
    terminal.lines(text, WIDTH).print(terminal.table(summary))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


@dataclass(frozen=True, repr=False)
class Comparisons(Sequence[Comparison]):
    """a against b, one comparison per metric; delta is a - b.

    computed: tested now for this pair, p adjusted over these metrics alone, since the run does not
    compare the two.
    """

    a: str
    b: str
    rows: tuple[Comparison, ...]
    higher: Mapping[str, bool]
    computed: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Comparison: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Comparison]: ...
    def __getitem__(self, place: int | slice) -> Comparison | Sequence[Comparison]:
        return self.rows[place]

    def of(self, metric: str) -> Comparison:
        """The comparison on one metric. Raises UsageError."""
        found = {row.metric: row for row in self.rows}
        if metric not in found:
            raise UsageError(f"{self.a} and {self.b} are not compared on {metric!r}; "
                             f"{nearest(metric, found)}")  # fmt: skip
        return found[metric]

    def verdict(self, row: Comparison) -> str:
        """ "a is better", "b is better", "equivalent" or "not shown", each at adjusted p < 0.05."""
        if row.p_adjusted < 0.05:
            a_wins = (row.delta > 0) == self.higher[row.metric]
            return f"{self.a if a_wins else self.b} is better"
        known = row.equivalence
        is_same = known is not None and known.p_equivalent_adjusted < 0.05
        return "equivalent" if is_same else "not shown"

    def table(self) -> Frame:
        """A row per metric: difference with interval, p, adjusted p, share of prompts won."""
        names = ("metric", "delta", "low", "high", "p", "p_adjusted", "win_rate")
        columns = {name: [getattr(row, name) for row in self.rows] for name in names}
        return frame({**columns, "verdict": [self.verdict(row) for row in self.rows]})

    def __repr__(self) -> str:
        return f"{self.a} - {self.b}\n{self.table()}"

    def _repr_html_(self) -> str:
        rows = [
            [metric_words(r.metric).title, f"{r.delta:+.4g}", f"{r.low:.4g} \u2013 {r.high:.4g}",
             f"{r.p_adjusted:.2g}", "" if r.win_rate is None else f"{r.win_rate:.0%}",
             self.verdict(r)]
            for r in self.rows
        ]  # fmt: skip
        heads = ("metric", "difference", "95 % interval", "adjusted p", "wins", "verdict")
        return html_table(heads, rows, f"{self.a} \u2212 {self.b}")


def compare(summary: Summary, run: RunFolder, a: str, b: str) -> Comparisons:
    """a against b on every metric that both have: the run's comparison, else computed from its
    scores.

    Raises UsageError for an unknown name, and for missing or damaged scores.
    """
    one, other = known(summary, a), known(summary, b)
    if a == b:
        raise UsageError(f"{a!r} against itself; valid: two contestants")
    higher = {name: value.higher_is_better for name, value in one.metrics.items()}
    held = [_turned(row, a) for row in summary.comparisons if {row.a, row.b} == {a, b}]
    if held:
        return Comparisons(a, b, tuple(held), higher)
    scored = [Scored(c, results_of(run, c.name)) for c in (one, other)]
    margins = run.resolved.get("margins")
    found = comparisons.compare(
        scored, margins if isinstance(margins, dict) else None, among=[(a, b)]
    )
    return Comparisons(a, b, tuple(found), higher, computed=True)


def _turned(row: Comparison, a: str) -> Comparison:
    """The comparison with `a` as its first."""
    if row.a == a:
        return row
    known = row.equivalence
    if known is not None:
        known = replace(
            known,
            p_a_not_worse=known.p_b_not_worse,
            p_b_not_worse=known.p_a_not_worse,
            p_a_not_worse_adjusted=known.p_b_not_worse_adjusted,
            p_b_not_worse_adjusted=known.p_a_not_worse_adjusted,
        )
    won, low, high = (
        None if v is None else 1 - v for v in (row.win_rate, row.win_high, row.win_low)
    )
    return replace(
        row, a=row.b, b=row.a, delta=-row.delta, low=-row.high, high=-row.low, win_rate=won,
        win_low=low, win_high=high, wins=row.losses, losses=row.wins, equivalence=known,
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Pictures(Mapping[int, Path]):
    """A contestant's picture files by prompt index; a notebook shows the first few."""

    contestant: str
    files: Mapping[int, Path]
    prompts: Mapping[int, str]

    def __getitem__(self, prompt: int) -> Path:
        return self.files[prompt]

    def __iter__(self) -> Iterator[int]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def open(self, prompt: int) -> Image:
        """A picture as a Pillow image. Raises UsageError for a missing or damaged one."""
        from hypersd.picture_reader import read

        if prompt not in self.files:
            raise UsageError(f"{self.contestant}: no picture of prompt {prompt} was kept")
        return read(self.files[prompt]).image

    def __repr__(self) -> str:
        return f"{len(self)} pictures of {self.contestant}"

    def _repr_html_(self) -> str:
        shown = list(self.files.items())[:SHOWN]
        cells = "".join(
            '<figure style="display:inline-block;width:128px;margin:4px;vertical-align:top">'
            f'<img width="128" alt="" src="data:image/webp;base64,{encoded(path)}">'
            f"<figcaption><small>{html.escape(self.prompts.get(index, ''))}</small></figcaption>"
            "</figure>"
            for index, path in shown
        )
        more = f", the first {len(shown)}" if len(shown) < len(self) else ""
        return f"<p>{html.escape(repr(self))}{more}</p><div>{cells}</div>"


def pictures(summary: Summary, run: RunFolder, name: str) -> Pictures:
    """The pictures of a contestant that the run kept. Raises UsageError for an unknown name."""
    found = run.pictures(known(summary, name).name)
    return Pictures(name, dict(sorted(found.items())), run.legible_texts()[0])
