"""The preference study of a run, for its page: plain data, and two figures drawn from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import study_words as words
from bench.report.study_words import percent
from bench.report.words import number
from bench.study import material as materials
from bench.study.analysis import PairLine, Panel, StrengthLine, panels
from bench.study.material import FOLDER, QUESTION, Material
from bench.study.store import Store

TEMPLATES = Path(__file__).parent / "templates"
WIDTH, EDGE, LABELS = 360, 4, 118
PAIR, BAR, ROW = 42, 13, 24


@dataclass(frozen=True)
class StudyFigures:
    """question: what people were asked.  prompts, questions: how many there are.  panels: figures
    of people, then of a simulated panel, never of both together."""

    question: str
    prompts: int
    questions: int
    panels: list[Panel]


def study_section(run: Path) -> StudyFigures | None:
    """The figures of a run's study; None where it has none, or no vote yet.

    Raises UsageError where the database is damaged or its votes are on other pictures.
    """
    with opened(run) as study:
        figures = panels(*study) if study is not None else []
        if study is None or not figures:
            return None
        found, _ = study
    return StudyFigures(QUESTION, len(found.prompts), len(found.items), figures)


@contextmanager
def opened(run: Path) -> Iterator[tuple[Material, Store] | None]:
    """A run's study, open for reading; None where it has none. Raises what study_section does."""
    if not (run / FOLDER / "votes.sqlite3").is_file():
        yield None
        return
    found = materials.read(run)
    with closing(Store(found.database, found.identity, create=False)) as store:
        yield found, store


def section(run: Path) -> Markup:
    """The study's part of the page; empty where there is none. Raises what study_section does."""
    found = study_section(run)
    if found is None:
        return Markup("")
    engine = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    engine.globals.update(words=words, bars=bars, strengths=strengths, mark=mark)
    return Markup(engine.get_template("study.html.j2").render(study=found))


def mark(panel: Panel) -> str:
    """What follows every heading of simulated votes."""
    return " (simulated)" * panel.simulated


def bars(panel: Panel) -> Markup:
    """Every pair as a bar: votes for a, neither, for b; whiskers are the interval of a's share.

    An open circle is what a simulated panel's votes come to in the long run.
    """
    shown = [pair for pair in panel.pairs if pair.votes]
    parts = [_bar(pair, PAIR * i) for i, pair in enumerate(shown)]
    title = f"Preference by pair{mark(panel)}. {' '.join(_words(pair) + '.' for pair in shown)}"
    return _svg(max(1, PAIR * len(shown)), title, parts)


def _bar(pair: PairLine, top: int) -> Markup:
    span = WIDTH - 2 * EDGE
    widths = [span * n / pair.votes for n in (pair.a_wins, pair.ties + pair.both_bad, pair.b_wins)]
    fills = ("var(--c0)", "var(--line)", "var(--c1)")
    left, rects = float(EDGE), []
    for width, fill in zip(widths, fills, strict=True):
        rects.append(
            Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" style="fill:{}"/>').format(
                left, top + 16, width, BAR, fill
            )
        )
        left += width
    names = [
        Markup('<text class="label" x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(
            x, top + 11, anchor, Markup(' style="font-weight:700"') if bold else "", label
        )
        for x, anchor, bold, label in (
            (EDGE, "start", pair.preferred == pair.a, f"{pair.a}  {percent(pair.share)}"),
            (WIDTH - EDGE, "end", pair.preferred == pair.b, _other(pair)),
        )
    ]
    title = Markup("<title>{}</title>").format(_words(pair))
    return Markup("<g>{}</g>").format(Markup("").join([title, *names, *rects, _whisker(pair, top)]))


def _other(pair: PairLine) -> str:
    return f"{percent(None if pair.share is None else 1 - pair.share)}  {pair.b}"


def _whisker(pair: PairLine, top: int) -> Markup:
    if pair.low is None or pair.high is None or pair.share is None:
        return Markup("")
    y = top + 16 + BAR / 2

    def x(share: float) -> float:
        return EDGE + share * (WIDTH - 2 * EDGE)

    parts = [
        Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}" style="stroke:var(--paper);'
               'stroke-width:4.5"/><line x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}" '
               'style="stroke:var(--ink);stroke-width:1.8"/>').format(
            x(pair.low), x(pair.high), x(pair.low), x(pair.high), y=y),
        _dot(x(pair.share), y, "var(--ink)"),
    ]  # fmt: skip
    if pair.known is not None:
        parts.append(_ring(x(pair.known), y))
    return Markup("").join(parts)


def _words(pair: PairLine) -> str:
    share = f"{percent(pair.share)} {words.between(pair)}" if pair.low is not None else "\u2013"
    return f"{pair.a} preferred to {pair.b}: {share}, {pair.votes} votes"


def strengths(panel: Panel) -> Markup:
    """Bradley-Terry strengths with 95 % intervals; empty where there are none."""
    lines = panel.strengths
    if not lines:
        return Markup("")
    reach = max(max(abs(line.low), abs(line.high), abs(line.known or 0.0)) for line in lines) * 1.05
    left, right = LABELS + 6, WIDTH - 8

    def x(value: float) -> float:
        return left + (value + reach) / (2 * reach) * (right - left)

    height = ROW * len(lines) + 34
    marks = [0.0, -reach / 1.05, reach / 1.05]
    axis = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="{1}"/><text class="tick" '
               'x="{0:.1f}" y="{2}" text-anchor="{4}">{3}</text>').format(
            x(v), height - 26, height - 10, number(v, 1), anchor)
        for v, anchor in zip(marks, ("middle", "start", "end"), strict=True)
    ]  # fmt: skip
    rows = [_strength(line, x, 2 + ROW * (i + 0.5)) for i, line in enumerate(lines)]
    said = "; ".join(" ".join(words.strength_row(line)) for line in lines)
    return _svg(height, f"Strengths{mark(panel)} with 95 % intervals: {said}", [*axis, *rows])


def _strength(line: StrengthLine, x: object, y: float) -> Markup:
    assert callable(x)
    parts = [
        Markup("<title>{}</title>").format(" ".join(words.strength_row(line))),
        Markup('<text class="label" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LABELS - 2, y + 4, line.name),
        Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
               'style="stroke:var(--c0);stroke-width:2;opacity:.55"/>').format(
            x(line.low), x(line.high), y=y),
        _dot(x(line.value), y, "var(--c0)"),
    ]  # fmt: skip
    if line.known is not None:
        parts.append(_ring(x(line.known), y))
    return Markup("<g>{}</g>").format(Markup("").join(parts))


def _dot(x: float, y: float, fill: str) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.4" style="fill:{}"/>').format(x, y, fill)


def _ring(x: float, y: float) -> Markup:
    return Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="5.2" style="fill:none;stroke:var(--ink);'
        'stroke-width:1.3"/>'
    ).format(x, y)


def _svg(height: int, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(WIDTH, height, title, Markup("").join(parts))
