"""The report of a very large run: 10,000 prompts, 16 contestants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report import synthetic

ROWS = tuple((method, steps) for steps in (1, 2, 4, 8) for method in ("lcm", "tcd", "tscd"))
ROWS += (("hyper_sd", 1), ("hyper_sd", 4), ("hyper_sd", 8), ("teacher", 25))


@pytest.mark.slow
def test_a_report_of_10_000_prompts_and_16_contestants(tmp_path: Path) -> None:
    """Below 15 MB with every prompt searchable, written from the files of a run."""
    from bench.report import write

    summary = synthetic.write(tmp_path, 10_000, ROWS)
    assert len(summary.contestants) == 16
    written = write.render(summary, tmp_path)
    page = written.page.read_text(encoding="utf-8")
    assert len(page.encode()) < 15_000_000
    data = json.loads(page.split('id="gallery-data">')[1].split("</script>")[0])
    assert len(data["prompts"]) == 10_000 and len(data["contestants"]) == 16
    assert written.document.stat().st_size < 5_000_000
