"""The report of a very large run: 10,000 prompts, 16 contestants."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SYNTHETIC = Path(__file__).resolve().parents[1] / "report/synthetic.py"
ROWS = tuple((method, steps) for steps in (1, 2, 4, 8) for method in ("lcm", "tcd", "tscd"))
ROWS += (("hyper_sd", 1), ("hyper_sd", 4), ("hyper_sd", 8), ("teacher", 25))


def synthetic() -> Any:
    """The module that makes up runs, from the report's tests."""
    spec = importlib.util.spec_from_file_location("made_up_load", SYNTHETIC)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_report_of_10_000_prompts_and_16_contestants(tmp_path: Path) -> None:
    """Below 15 MB with every prompt searchable, written from the files of a run."""
    from bench.report import write

    made_up = synthetic()
    made_up.ROWS = ROWS
    summary = made_up.write(tmp_path, 10_000)
    assert len(summary.contestants) == 16
    written = write.render(summary, tmp_path)
    page = written.page.read_text(encoding="utf-8")
    assert len(page.encode()) < 15_000_000
    data = json.loads(page.split('id="gallery-data">')[1].split("</script>")[0])
    assert len(data["prompts"]) == 10_000 and len(data["contestants"]) == 16
    assert written.document.stat().st_size < 5_000_000
