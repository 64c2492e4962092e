"""A check as GitHub's annotations: `::error` for what regressed, `::warning` for what is open.

GitHub shows ten of a kind for a step, so there is one for each contestant, the worst metric first.
Source: GitHub's "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bench.check.verdicts import Verdict

if TYPE_CHECKING:
    from bench.check.markdown import Page

KINDS = {"regress": "error", "inconclusive": "warning"}


def commands(page: Page, environment: Mapping[str, str]) -> Iterator[str]:
    """The commands; none outside of GitHub Actions."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    for name in dict.fromkeys(row.contestant for row in page.verdicts):
        for outcome, kind in KINDS.items():
            rows = [v for v in page.verdicts if v.contestant == name and v.outcome == outcome]
            if rows:
                yield _command(kind, f"{name}: {outcome}", "\n".join(map(_said, _sorted(rows))))


def _sorted(rows: list[Verdict]) -> list[Verdict]:
    """By loss in margins, the largest first."""
    return sorted(rows, key=lambda v: -(v.loss or 0.0) / v.margin if v.margin else 0.0)


def _said(row: Verdict) -> str:
    return f"{row.subject}: {row.why}"


def _command(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_escaped(title, property=True)}::{_escaped(text)}"


def _escaped(text: str, *, property: bool = False) -> str:
    """A command's message or property, escaped as GitHub's toolkit does."""
    signs = {"%": "%25", "\r": "%0D", "\n": "%0A", **({":": "%3A", ",": "%2C"} if property else {})}
    return "".join(signs.get(sign, sign) for sign in text)
