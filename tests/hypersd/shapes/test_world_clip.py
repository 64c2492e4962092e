"""The evaluator CLIP: a saved folder is loaded whole, also where nothing else has been imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from hypersd.shapes import clip, clip_model
from hypersd.shapes.teacher import END, build_tokenizer


def test_a_saved_folder_loads_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The aesthetic head's training imports little: the tower must be known all the same."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(tmp_path / "tokenizer")
    end = tokenizer.convert_tokens_to_ids(END)
    config = clip.config({"embed": 128}, len(tokenizer), end)
    model = clip_model.build(config).eval()
    (tmp_path / "clip").mkdir()
    clip.save(model, config, tokenizer, tmp_path / "clip")
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = model.half().float().encode_image(x, normalize=True)
    torch.save({"x": x, "expected": expected}, tmp_path / "pair.pt")
    code = (
        "import torch; from hypersd.shapes import aesthetic; "
        f"pair = torch.load({str(tmp_path / 'pair.pt')!r}); "
        f"model = aesthetic.clip_model.load({str(tmp_path / 'clip')!r}).eval(); "
        "found = model.encode_image(pair['x'], normalize=True); "
        "torch.testing.assert_close(found, pair['expected'], rtol=1e-3, atol=1e-4)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
