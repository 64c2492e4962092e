"""The world's scenes as training data: a cache against diffusers' VAE itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypersd.base import Base, load_base
from hypersd.errors import UsageError
from hypersd.shapes import data
from hypersd.shapes.captions import caption
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Base:
    return load_base(str(tiny_base), torch.device("cpu"))


def test_latents_are_the_vaes_means_and_read_back(base: Base, tmp_path: Path) -> None:
    made = data.load_dataset({"set": "shapes/validation", "n": 3}, base, tmp_path)
    scenes = [sample_scene("validation", i) for i in range(3)]
    pixels = torch.from_numpy(np.stack([render(s) for s in scenes])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = base.vae.encode(pixels).latent_dist.mean * base.vae.config.scaling_factor
    torch.testing.assert_close(made.latents.float(), expected, rtol=2e-3, atol=2e-3)
    assert made.captions == [caption(scene) for scene in scenes]
    x, texts = made.batch(0, 3, 0)
    row = made.captions.index(texts[0])
    assert torch.equal(x[0], made.latents[row].float())


def test_encoding_happens_once_and_a_damaged_file_is_made_again(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"set": "shapes/train", "n": 2}
    made = data.load_dataset(wanted, base, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for damaged in (b"", whole[: len(whole) // 2], flipped):
        with monkeypatch.context() as patch:
            patch.setattr(data, "render", None)
            read = data.load_dataset(wanted, base, tmp_path)
        assert torch.equal(read.latents, made.latents)
        assert read.captions == made.captions
        path.write_bytes(damaged)
        assert torch.equal(data.load_dataset(wanted, base, tmp_path).latents, made.latents)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"set": "shapes/trian", "n": 2}, "did you mean 'shapes/train'"),
        ({"set": "shapes/train", "n": 0}, "data.n=0"),
        ({"set": "shapes/train"}, "data: key 'n' is missing"),
        ({"sets": "shapes/train", "n": 2}, "did you mean 'set'"),
    ],
)
def test_unknown_data_is_refused(base: Base, wanted: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        data.load_dataset(wanted, base)
