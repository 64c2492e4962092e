"""Many runs -> one page: a board per protocol, a row per contestant with its history over the runs.

Runs are in the order of their time. A contestant is followed by its name; where its identity
changes (weights, sampler, base), the history says so. The change since the run before is paired by
prompt, with a 95 % interval, not adjusted for how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from bench.errors import UsageError
from bench.report.html import TEMPLATES, engine_of_templates
from bench.report.words import groups, metric_words
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, Summary
from bench.statistics import differences
from bench.statistics.printed import number
from bench.statistics.result import results_of
from hypersd.whole_files import written_whole

NAME = "leaderboard.html"
WIDTH, HEIGHT, EDGE = 120.0, 34.0, 4.0  # of a history's figure, in pixels


@dataclass(frozen=True)
class Entry:
    """A contestant in one run."""

    run: RunFolder
    summary: Summary
    contestant: Contestant

    @property
    def time(self) -> str:
        """The day and minute of its run, UTC; "" where the result does not say."""
        return time_of(self.summary)[:16].replace("T", " ")

    @property
    def commit(self) -> str:
        """Of the project, at its run."""
        return str(self.summary.environment.get("commit") or "")[:10]


@dataclass(frozen=True)
class Cell:
    """A metric of a row: its newest value, the interval's half, the change since the run before
    ("" in the first) and whether its interval excludes 0, the figure of its history."""

    value: str
    half: str
    change: str
    is_certain: bool
    is_better: bool
    figure: Markup


@dataclass(frozen=True)
class Line:
    """A contestant: its newest entry first, its cells by metric (None: not measured)."""

    name: str
    entries: list[Entry]
    cells: list[Cell | None]

    @property
    def identities(self) -> int:
        """How many different ones stand in its history."""
        return len({entry.contestant.identity for entry in self.entries})


@dataclass(frozen=True)
class Board:
    """The runs of one protocol, and the contestants by heading (number of steps). higher: by
    metric, whether more is better."""

    title: str
    newest: Summary
    runs: list[tuple[Path, Summary]]
    metrics: list[str]
    higher: dict[str, bool]
    sections: list[tuple[str, list[Line]]]


def write(runs: Sequence[Path], out: Path | None) -> Path:
    """The page of finished runs, in `out` (default runs/leaderboard); its path.

    Raises UsageError for a run that is not finished or damaged.
    """
    found = [(run, RunFolder(run).summary) for run in runs]
    target = out or Path("runs/leaderboard")
    target.mkdir(parents=True, exist_ok=True)
    path = target / NAME
    with written_whole(path) as beside:
        beside.write_text(page(found), encoding="utf-8")
    return path


def page(runs: Sequence[tuple[Path, Summary]]) -> str:
    """The page's HTML: styles and figures inside, no script, nothing from elsewhere."""
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    made = boards(runs)
    return (
        engine_of_templates()
        .get_template("leaderboard.html.j2")
        .render(boards=made, style=style, metric_words=metric_words, number=number, count=len(runs))
    )


def boards(runs: Sequence[tuple[Path, Summary]]) -> list[Board]:
    """One per protocol, the one with the newest run first."""
    ordered = sorted(runs, key=lambda one: time_of(one[1]))
    protocols = dict.fromkeys(found.protocol for _, found in reversed(ordered))
    return [_board([one for one in ordered if one[1].protocol == name]) for name in protocols]


def time_of(summary: Summary) -> str:
    """When a run was made, as ISO; "" where its result does not say."""
    return str(summary.environment.get("time") or "")


def _board(runs: list[tuple[Path, Summary]]) -> Board:
    newest = runs[-1][1]
    metrics = list(dict.fromkeys(m for _, found in reversed(runs) for m in found.metric_names()))
    histories: dict[str, list[Entry]] = {}
    for path, found in reversed(runs):
        for contestant in found.contestants:
            histories.setdefault(contestant.name, []).append(
                Entry(RunFolder(path), found, contestant)
            )
    higher = {m: v.higher_is_better for entries in histories.values() for e in entries
              for m, v in e.contestant.metrics.items()}  # fmt: skip
    lines = {name: Line(name, entries, [_cell(entries, m) for m in metrics])
             for name, entries in histories.items()}  # fmt: skip
    newest_entries = replace(newest, contestants=[found[0].contestant for found in
                                                  histories.values()])  # fmt: skip
    sections = [(heading, _ranked([lines[c.name] for c in members], metrics))
                for heading, members in groups(newest_entries)]  # fmt: skip
    return Board(newest.title or newest.suite, newest, runs, metrics, higher, sections)


def _ranked(lines: list[Line], metrics: list[str]) -> list[Line]:
    """Best first on the first metric; who lacks it last."""

    def key(line: Line) -> tuple[bool, float]:
        value = line.entries[0].contestant.metrics.get(metrics[0]) if metrics else None
        if value is None:
            return True, 0.0
        return False, -value.value if value.higher_is_better else value.value

    return sorted(lines, key=key)


def _cell(entries: Sequence[Entry], metric: str) -> Cell | None:
    """Of entries newest first; None where the newest one lacks the metric."""
    value = entries[0].contestant.metrics.get(metric)
    if value is None:
        return None
    places = _places(value.high - value.low)
    change, is_certain, is_better = "", False, False
    before = next((e for e in entries[1:] if metric in e.contestant.metrics), None)
    if before is not None:
        delta, low, high = _change(entries[0], before, metric)
        shown = number(delta, places)
        change = f"{'+' if delta > 0 and shown.strip('0.,') else ''}{shown}"
        is_certain = low is not None and high is not None and not low <= 0 <= high
        is_better = (delta > 0) == value.higher_is_better
    half = f"{(value.high - value.low) / 2:.{places}f}"
    return Cell(number(value.value, places), half, change, is_certain, is_better,
                figure(list(reversed(entries)), metric))  # fmt: skip


def _places(width: float) -> int:
    """Decimals that show two figures of an interval's half."""
    return min(4, max(0, 1 - math.floor(math.log10(width / 2)))) if width > 0 else 2


def _change(now: Entry, then: Entry, metric: str) -> tuple[float, float | None, float | None]:
    """(difference, ends of its paired 95 % interval, None where scores are missing)."""
    after, before = now.contestant, then.contestant
    delta = after.metrics[metric].value - before.metrics[metric].value
    try:
        x = results_of(now.run, after.name)[metric]
        y = results_of(then.run, before.name)[metric]
        if differences.refusal(x, y) is not None:
            return delta, None, None
        found = differences.difference(x, y)
    except (UsageError, KeyError):  # a folder without its scores still has its values
        return delta, None, None
    return delta, found.low, found.high


def figure(entries: Sequence[Entry], metric: str) -> Markup:
    """A history, oldest first: values as a line in the band of their 95 % intervals, a ring where
    the contestant's identity is another than in the run before. Drawn by hand, since there is one
    in each cell."""
    known = [(e.contestant.identity, v) for e in entries
             if (v := e.contestant.metrics.get(metric)) is not None]  # fmt: skip
    if len(known) < 2:
        return Markup("")
    lowest, highest = min(v.low for _, v in known), max(v.high for _, v in known)
    across = (WIDTH - 2 * EDGE) / (len(known) - 1)
    scale = (HEIGHT - 2 * EDGE) / ((highest - lowest) or 1.0)

    def at(place: int, value: float) -> str:
        return f"{EDGE + place * across:.1f},{HEIGHT - EDGE - (value - lowest) * scale:.1f}"

    band = [at(i, v.high) for i, (_, v) in enumerate(known)]
    band += reversed([at(i, v.low) for i, (_, v) in enumerate(known)])
    line = " ".join(at(i, v.value) for i, (_, v) in enumerate(known))
    dots = []
    for i, (identity, value) in enumerate(known):
        x, y = at(i, value.value).split(",")
        is_new = i > 0 and identity != known[i - 1][0]
        kind = "ring" if is_new else "last" if i == len(known) - 1 else "dot"
        dots.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{2.8 if is_new else 2}"/>')
    words = f"{len(known)} runs, from {known[0][1].value:.4g} to {known[-1][1].value:.4g}"
    return Markup(
        f'<svg class="history" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{words}">'
        f'<title>{words}</title><polygon points="{" ".join(band)}"/>'
        f'<polyline points="{line}"/>{"".join(dots)}</svg>'
    )
