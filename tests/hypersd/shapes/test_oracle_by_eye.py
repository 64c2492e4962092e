"""The oracle against a person: 200 generated pictures, labelled by eye before its verdict was seen.

`by_eye/pictures.png` holds them, 20 in a row; `by_eye/labels.jsonl` says of each the prompt, who
drew it, and whether the whole prompt is drawn right: things and relation, as the oracle judges.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from hypersd.shapes.evaluators import load_oracle

FOLDER = Path(__file__).parent / "by_eye"
SIDE, IN_A_ROW = 64, 20


def test_the_oracle_agrees_with_a_person() -> None:
    rows = [json.loads(line) for line in (FOLDER / "labels.jsonl").read_text().splitlines()]
    sheet = np.asarray(Image.open(FOLDER / "pictures.png").convert("RGB"))
    tiles = sheet.reshape(-1, SIDE, IN_A_ROW, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    found = load_oracle().judge(tiles, [row["prompt"] for row in rows])[:, 0] > 0
    said = np.array([row["right"] for row in rows])
    assert len(rows) == len(tiles) == 200
    assert 0.1 < said.mean() < 0.9  # both kinds are there
    assert (found == said).mean() >= 0.8  # docs/log.md has the figure
