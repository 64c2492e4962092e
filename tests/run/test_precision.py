"""`shapes_precision` on the shipped weights: each row beside its own in fp32, to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import cli

ROWS = ("tcd-4step", "tcd_bf16-4step", "tcd_fp8-4step")


def test_fewer_bits_draw_nearly_the_same_pictures_and_are_claimed_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("suite=shapes_precision", "limit=6", "rounds=0", "device=cpu", "cache=cache")
    assert cli.main([*words, "out=run"]) == 0
    found = json.loads((tmp_path / "run/result.json").read_text())
    assert [row["name"] for row in found["contestants"]] == list(ROWS)
    assert len({row["identity"] for row in found["contestants"]}) == 3
    assert found["environment"]["precision"] == "fp32, bf16, fp8 in fp32"
    assert len(found["claims"]) == 6 and all(c["about"] == "weights" for c in found["claims"])
    assert {c["family"] for c in found["comparisons"] if "tcd-4step" in (c["a"], c["b"])} == {
        "primary"
    }
    page = (tmp_path / "run/report.html").read_text()
    table = (tmp_path / "run/tables/claims.md").read_text()
    for claim in found["claims"]:
        assert claim["text"] in page
        assert claim["text"] in table
    whole, *others = (drawn(tmp_path / "run", row) for row in ROWS)
    for few in others:
        apart = np.abs(few - whole).mean()
        assert 0 < apart < 0.2 * np.abs(whole[::-1] - whole).mean()


def drawn(run: Path, row: str) -> np.ndarray:
    """Its pictures, [N, H, W, 3]."""
    paths = sorted((run / "images" / row).rglob("*.png"))
    return np.stack([np.asarray(Image.open(path), dtype=float) for path in paths])
