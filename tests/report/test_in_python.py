"""What Python shows of a run, on a made-up one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.report import in_python, tables
from bench.results.summary import Summary


def test_a_distance_has_no_scores_of_single_prompts(made_up: tuple[Path, Summary]) -> None:
    run, summary = made_up
    with pytest.raises(UsageError, match="metric 'fid' has no scores of single prompts; valid: "):
        in_python.scores(summary, run, "fid")
    assert len(in_python.scores(summary, run, "clip")) == 40


def test_html_says_what_the_markdown_says(summary: Summary) -> None:
    shown, written = in_python.as_html(summary), tables.markdown(summary)
    assert shown.count("<b>") == written.count("**") // 2 > 0
    for contestant in summary.contestants:
        assert f">{contestant.name}</th>" in shown and f"| {contestant.name} |" in written
    heads = [cell.strip() for cell in written.splitlines()[0].strip("|").split("|")]
    assert all(f"<th>{head}</th>" in shown for head in heads)


def test_a_name_is_escaped(summary: Summary) -> None:
    from dataclasses import replace

    evil = "<script>alert(1)</script>"
    first, *others = summary.contestants
    shown = in_python.as_html(
        replace(summary, title=evil, contestants=[replace(first, name=evil), *others])
    )
    assert "<script" not in shown and shown.count("&lt;script&gt;") == 2
