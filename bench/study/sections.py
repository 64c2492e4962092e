"""The preference study of a run, for its report: figures as data, and sentences for the PDF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.study import material as materials
from bench.study import words
from bench.study.analysis import PanelFigures, panels
from bench.study.material import FOLDER, QUESTION, Material
from bench.study.store import VoteStore

RATERS_MOST = 60  # lines of the PDF's list of raters


@dataclass(frozen=True)
class StudyFigures:
    """question: what people were asked.  prompts, questions: how many there are.  panels: figures
    of people, then of a simulated panel, never of both together."""

    question: str
    prompts: int
    questions: int
    panels: list[PanelFigures]


def study_section(run: Path, mixed_model: bool = False) -> StudyFigures | None:
    """The figures of a run's study; None where it has none, or no vote yet.

    Raises UsageError where the database is damaged or its votes are on other pictures.
    """
    with opened(run) as study:
        figures = panels(*study, mixed_model) if study is not None else []
        if study is None or not figures:
            return None
        found, _ = study
    return StudyFigures(QUESTION, len(found.prompts), len(found.items), figures)


@contextmanager
def opened(run: Path) -> Iterator[tuple[Material, VoteStore] | None]:
    """A run's study, open for reading; None without one. Raises as `study_section`."""
    if not (run / FOLDER / "votes.sqlite3").is_file():
        yield None
        return
    found = materials.read(run)
    with closing(VoteStore(found.database, found.identity, create=False)) as store:
        yield found, store


def content(found: StudyFigures) -> dict[str, Any]:
    """The PDF's text on a study: strings without markup."""
    return {
        "about": f"\u201c{found.question}\u201d \u00b7 {found.prompts} prompts \u00b7 "
        f"{found.questions} questions, asked blindly, sides at random",
        "panels": [_panel(panel) for panel in found.panels],
    }


def _panel(panel: PanelFigures) -> dict[str, Any]:
    rows = words.rater_rows(panel)
    more = f"and {len(rows) - RATERS_MOST} more; the page has all" * (len(rows) > RATERS_MOST)
    return {
        "mark": words.mark(panel),
        "heading": "Simulated panel" if panel.simulated else "People",
        "banner": f"These {panel.votes:,} votes {words.SIMULATED}" * panel.simulated,
        "about": " \u00b7 ".join(words.about(panel)),
        "preferences": words.preferences(panel),
        "captions": [words.PREFERENCE, words.STRENGTH],
        "strength_heads": list(words.STRENGTH_HEADS),
        "strengths": [words.strength_row(line) for line in panel.strengths],
        "heads": list(words.PAIR_HEADS),
        "rows": words.pair_rows(panel),
        "mixed_heads": list(words.MIXED_HEADS),
        "mixed": words.mixed_rows(panel),
        "notes": [
            words.scope(panel),
            *words.mixed(panel),
            words.agreement(panel),
            words.votes(panel),
        ],
        "rater_heads": list(words.RATER_HEADS),
        "raters": [*rows[:RATERS_MOST], *([[more, "", "", "", ""]] if more else [])],
        "checks": words.CHECKS,
    }
