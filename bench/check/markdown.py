"""A check as Markdown: for a file beside its pictures, and for a CI's summary page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.check.verdicts import OUTCOMES, Verdict
from bench.check.worst_prompts import Worst

SIGNS = {"regress": "❌ regress", "inconclusive": "❔ inconclusive", "pass": "✅ pass",
         "skipped": "not compared"}  # fmt: skip
WIDTH = 128  # pixels at which a picture is shown
_PLAIN = re.compile(r"[^\w .,:;%/+()-]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class Page:
    """What a summary tells. changed: by contestant; environment: what else differs, added: new
    contestants; not_kept: sentences on pictures that are not there."""

    suite: str
    baseline: str
    outcome: str
    verdicts: Sequence[Verdict]
    changed: Mapping[str, Sequence[str]]
    environment: Sequence[str]
    added: Sequence[str]
    worst: Sequence[Worst]
    not_kept: Sequence[str] = ()
    notes: Sequence[str] = ()


def render(page: Page, address: Callable[[Path], str] | None) -> str:
    """The page's text.  address: where a picture is found from there; None: nowhere."""
    lines = [f"# {SIGNS[page.outcome]}: {escaped(page.suite)} against {escaped(page.baseline)}", ""]
    lines += [_counted(page.verdicts), ""]
    lines += [f"{escaped(note)}.\n" for note in page.notes]
    open_rows = [v for v in page.verdicts if v.outcome in ("regress", "inconclusive")]
    rest = [v for v in page.verdicts if v.outcome in ("pass", "skipped")]
    if open_rows:
        lines += [*_table(open_rows), ""]
    lines += _worst(page.worst, page.not_kept, address)
    lines += _changed(page)
    if rest:
        lines += ["<details><summary>Rows that passed or were not compared</summary>", "",
                  *_table(rest), "", "</details>", ""]  # fmt: skip
    return "\n".join(lines)


def _counted(verdicts: Sequence[Verdict]) -> str:
    held = [v.outcome for v in verdicts]
    words = [f"{held.count(name)} {name}" for name in OUTCOMES[:3]]
    if "skipped" in held:
        words.append(f"{held.count('skipped')} not compared")
    return f"{', '.join(words)}."


def _table(rows: Sequence[Verdict]) -> list[str]:
    lines = ["| contestant | what | before | after | difference, 95 % | verdict | why |",
             "|---|---|--:|--:|--:|---|---|"]  # fmt: skip
    for row in rows:
        numbers = [_number(row.before), _number(row.after), _difference(row)]
        names, said = [escaped(row.contestant), escaped(row.subject)], escaped(row.why)
        cells = [*names, *numbers, SIGNS[row.outcome], said]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _difference(row: Verdict) -> str:
    if row.delta is None:
        return ""
    if row.low is None or row.high is None:
        return f"{row.delta:+.3g}" if abs(row.delta) < 10_000 else f"{row.delta:+,.0f}"
    return f"{row.delta:+.3g} ({row.low:.3g} to {row.high:.3g})"


def _worst(
    worst: Sequence[Worst], not_kept: Sequence[str], address: Callable[[Path], str] | None
) -> list[str]:
    lines: list[str] = []
    for name in dict.fromkeys(w.contestant for w in worst):
        rows = [w for w in worst if w.contestant == name]
        pictured = address is not None and any(w.before and w.after for w in rows)
        lines += [f"## Worst prompts of {escaped(name)}, by {escaped(rows[0].metric)}", ""]
        if pictured and address is not None:
            lines += ["| prompt | before | after | worse by |", "|---|---|---|--:|"]
            lines += [
                f"| {escaped(w.text)} | {_image(w.before, address)} | {_image(w.after, address)} "
                f"| {w.loss:.3g} |"
                for w in rows
            ]
        else:
            lines += ["| prompt | worse by |", "|---|--:|"]
            lines += [f"| {escaped(w.text)} | {w.loss:.3g} |" for w in rows]
            if any(w.before and w.after for w in rows):
                lines += ["", "Their pictures lie in the run's folder, under `check/pictures`."]
        if not all(w.before and w.after for w in rows):
            lines += [line for said in not_kept for line in ("", f"{said}.")]
        lines.append("")
    return lines


def _image(path: Path | None, address: Callable[[Path], str]) -> str:
    if path is None:
        return ""
    side = "before" if path.stem.endswith("before") else "after"
    return f'<img src="{escaped_address(address(path))}" width="{WIDTH}" alt="{side}">'


def _changed(page: Page) -> list[str]:
    lines = ["## What changed", ""]
    for name, clauses in page.changed.items():
        lines.append(f"- {escaped(name)}: {'; '.join(escaped(c) for c in clauses) or 'nothing'}")
    if page.added:
        lines.append(f"- not in the baseline: {', '.join(escaped(n) for n in page.added)}")
    if page.environment:
        lines.append(f"- made by: {'; '.join(escaped(c) for c in page.environment)}")
    return [*lines, ""]


def escaped(text: str) -> str:
    """Text that stays text: whatever Markdown or HTML could read is written as a number."""
    return _PLAIN.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def escaped_address(text: str) -> str:
    """An address that cannot leave its quotes."""
    return re.sub(r"[\"<>&\s|\\`]", lambda found: f"%{ord(found[0]):02X}", text)
