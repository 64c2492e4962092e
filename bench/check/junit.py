"""Verdicts as JUnit XML, which every CI can show.

A regression is a failure, an inconclusive row an error (no verdict could be reached), a row that
was not compared is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from bench.check.verdicts import Verdict

TAGS = {"regress": "failure", "inconclusive": "error", "skipped": "skipped"}
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml(suite: str, verdicts: Sequence[Verdict]) -> bytes:
    """The file's content: one test suite per contestant, one test case per row."""
    root = ElementTree.Element("testsuites", {"name": _clean(suite), **_counts(verdicts)})
    for name in dict.fromkeys(v.contestant for v in verdicts):
        rows = [v for v in verdicts if v.contestant == name]
        group = ElementTree.SubElement(root, "testsuite", {"name": _clean(name), **_counts(rows)})
        for row in rows:
            case = ElementTree.SubElement(
                group,
                "testcase",
                classname=_clean(f"{suite}.{name}"),
                name=_clean(row.subject),
                time="0",
            )
            if row.outcome in TAGS:
                said = {"message": _clean(row.why), "type": row.outcome}
                ElementTree.SubElement(case, TAGS[row.outcome], said).text = _clean(numbers(row))
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def numbers(row: Verdict) -> str:
    """The figures behind a row in one line; empty where it has none."""
    if row.before is None or row.after is None:
        return ""
    words = f"{row.before:.6g} -> {row.after:.6g}"
    if row.low is not None and row.high is not None and row.delta is not None:
        words += f", difference {row.delta:.4g} [{row.low:.4g}, {row.high:.4g}]"
    if row.p_adjusted is not None:
        words += f", adjusted p {row.p_adjusted:.2g}"
    return words


def _counts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    held = [v.outcome for v in verdicts]
    return {
        "tests": str(len(held)),
        "failures": str(held.count("regress")),
        "errors": str(held.count("inconclusive")),
        "skipped": str(held.count("skipped")),
    }


def _clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
