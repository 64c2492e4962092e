"""Training data: order, and a cache against diffusers' VAE itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypersd import data
from hypersd.base import Base, load_base
from hypersd.errors import UsageError
from hypersd.shapes.captions import caption
from hypersd.shapes.scenes import sample_scene


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Base:
    return load_base(str(tiny_base), torch.device("cpu"))


def test_each_pass_shows_every_sample_once() -> None:
    rows = torch.cat([data.batch_rows(10, step, 4, seed=7) for step in range(5)])
    first, second = rows[:10].tolist(), rows[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert not torch.equal(data.batch_rows(10, 0, 10, 8), data.batch_rows(10, 0, 10, 7))


def test_a_batch_may_be_larger_than_the_data() -> None:
    rows = data.batch_rows(3, 1, 7, seed=0)
    assert len(rows) == 7
    assert torch.equal(rows, data.batch_rows(3, 1, 7, seed=0))


def test_a_base_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no pipeline's folder"):
        load_base(str(tmp_path / "missing"), torch.device("cpu"))


def test_prompts_and_pictures_pass_through_the_base(base: Base, tiny_base: Path) -> None:
    """Against the pipeline's own prompt encoding and decoding."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    prompt = caption(sample_scene("train", 0))
    text, empty = pipe.encode_prompt(prompt, "cpu", 1, True)
    torch.testing.assert_close(base.encode_prompts([prompt]), text)
    torch.testing.assert_close(base.encode_prompts([""]), empty)
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    expected = pipe.image_processor.postprocess(image, output_type="np")
    assert np.abs(base.decode(latents) / 255.0 - expected).max() <= 0.5001 / 255
