"""docs/notebook.ipynb runs from its first cell to its last; its outputs are kept and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"
MOST_BYTES = 100_000


def kinds(cell: Any) -> list[list[str]]:
    """The media types of each of a cell's results."""
    return [sorted(one["data"]) for one in cell["outputs"] if "data" in one]


def test_its_outputs_are_kept_and_small() -> None:
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    shown = [cell for cell in code if "weights = " not in "".join(cell["source"])]
    assert all(cell["outputs"] for cell in shown)
    assert "error" not in {one["output_type"] for cell in code for one in cell["outputs"]}
    words = json.dumps([cell["outputs"] for cell in code])
    assert "site-packages" not in words and "Traceback" not in words


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    kept = nbformat.read(NOTEBOOK, as_version=4)
    made = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        made, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for old, new in zip(kept.cells, made.cells, strict=True):
        if new.cell_type == "code":
            assert kinds(new) == kinds(old), new.source
    alone, of_run = made.cells[-3].outputs[0].data["text/plain"].strip("()").split(", ")
    assert abs(float(alone) - float(of_run)) < 0.02
