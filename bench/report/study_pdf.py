"""The preference study of a run, for its PDF: words, and places on axes (0 to 1)."""

from __future__ import annotations

from typing import Any

from bench.report import study_words as words
from bench.report.study import StudyFigures, mark
from bench.report.words import number
from bench.study.analysis import PairLine, Panel, StrengthLine

RATERS_MOST = 60  # lines of the list of raters


def content(found: StudyFigures) -> dict[str, Any]:
    """What the template prints of a study: no markup, numbers only where something is drawn."""
    return {
        "about": f"\u201c{found.question}\u201d \u00b7 {found.prompts} prompts \u00b7 "
        f"{found.questions} questions, asked blindly, sides at random",
        "panels": [_panel(panel) for panel in found.panels],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    rows = words.rater_rows(panel)
    more = f"and {len(rows) - RATERS_MOST} more; the page has all" * (len(rows) > RATERS_MOST)
    return {
        "mark": mark(panel),
        "heading": "Simulated panel" if panel.simulated else "People",
        "banner": f"These {panel.votes:,} votes {words.SIMULATED}" * panel.simulated,
        "about": " \u00b7 ".join(words.about(panel)),
        "preferences": words.preferences(panel),
        "bars": [_bar(pair) for pair in panel.pairs if pair.votes],
        "strengths": _strengths(panel.strengths),
        "captions": [words.PREFERENCE, words.STRENGTH],
        "heads": list(words.PAIR_HEADS),
        "rows": [words.pair_row(pair) for pair in panel.pairs],
        "notes": [words.scope(panel), words.agreement(panel), words.votes(panel)],
        "rater_heads": list(words.RATER_HEADS),
        "raters": [*rows[:RATERS_MOST], *([[more, "", "", "", ""]] if more else [])],
        "checks": words.CHECKS,
    }


def _bar(pair: PairLine) -> dict[str, Any]:
    """fills: shares of the votes for a, for neither, and for b."""
    return {
        "a": pair.a,
        "b": pair.b,
        "left": words.percent(pair.share),
        "right": words.percent(None if pair.share is None else 1 - pair.share),
        "bold": [pair.preferred == pair.a, pair.preferred == pair.b],
        "votes": f"{pair.votes:,}",
        "fills": [n / pair.votes for n in (pair.a_wins, pair.ties + pair.both_bad, pair.b_wins)],
        "share": pair.share,
        "between": None if pair.low is None else [pair.low, pair.high],
        "known": pair.known,
    }


def _strengths(lines: list[StrengthLine]) -> dict[str, Any] | None:
    """Places on an axis that goes as far to the left of 0 as to the right; None without lines."""
    if not lines:
        return None
    reach = max(max(abs(line.low), abs(line.high), abs(line.known or 0.0)) for line in lines) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else 0.5 + 0.48 * value / reach

    rows = [
        {"name": line.name, "value": place(line.value), "known": place(line.known),
         "between": [place(line.low), place(line.high)],
         "words": " ".join(words.strength_row(line)[1:])}
        for line in lines
    ]  # fmt: skip
    return {"rows": rows, "ends": [number(-reach, 1), "0", number(reach, 1)]}
