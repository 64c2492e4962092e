"""The kinds of base models against diffusers' own pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl as of_sdxl

from hypersd import bases
from hypersd.bases import FAMILIES
from hypersd.conditions import PooledText
from hypersd.errors import UsageError
from tests.hypersd.real_models import make_sd3, make_sd15, make_sdxl

PROMPTS = ["a red circle", "two blue stars left of a large green ring"]
MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": make_sd3}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKE[request.param](tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture
def pipe(folder: Path) -> Any:
    made = bases.load(folder, torch.float32, None)
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def test_conditions_are_those_of_the_pipeline(pipe: Any) -> None:
    family = bases.of(pipe)
    found, empty = family.encode(PROMPTS), family.unconditional()
    others = {"prompt_2": None, "prompt_3": None} if family.name == "sd3" else {}
    theirs = pipe.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1,
                                do_classifier_free_guidance=True, **others)  # fmt: skip
    if isinstance(found, PooledText) and isinstance(empty, PooledText):
        states, nothing, pooled, no_pooled = theirs
        assert torch.equal(found.pooled, pooled)
        torch.testing.assert_close(empty.pooled.expand_as(no_pooled), no_pooled)
        ours, none = found.states, empty.states
    else:
        (states, nothing), (ours, none) = theirs, (found, empty)
    assert torch.equal(ours, states)
    torch.testing.assert_close(none.expand_as(nothing), nothing)  # of one, and of two at once


@torch.no_grad()
@pytest.mark.parametrize("whitened", [False, True])
def test_latents_are_decoded_as_by_the_pipeline(pipe: Any, whitened: bool) -> None:
    """Also those of a VAE with means and deviations of its channels, which diffusers knows in
    SDXL's pipeline alone."""
    family = bases.of(pipe)
    if whitened:
        channels = range(pipe.vae.config.latent_channels)
        pipe.vae.register_to_config(
            latents_mean=[0.1 * i for i in channels], latents_std=[1 + 0.2 * i for i in channels]
        )
    given = {"prompt": PROMPTS, "num_inference_steps": 2, "guidance_scale": 1.0,
             "latents": torch.randn(2, *family.latent_shape())}  # fmt: skip
    latents = pipe(**given, output_type="latent").images
    ours = family.decode(latents)
    if not whitened or family.name == "sdxl":
        theirs = pipe(**given, output_type="pt").images
        torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(family.to_vae(family.to_network(latents)), latents)


UNNEEDED = {
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "watermark": ["diffusers", "StableDiffusionXLWatermarker"],
}


def test_parts_that_drawing_does_not_need_are_not_asked_for(folder: Path, tmp_path: Path) -> None:
    """A model_index.json names them, and they are neither fetched nor there."""
    copy = shutil.copytree(folder, tmp_path / folder.name)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | UNNEEDED))
    pipe = bases.load(copy, torch.float32, None)
    assert all(pipe.components.get(part) is None for part in UNNEEDED)
    assert getattr(pipe, "watermark", None) is None


def test_no_watermark_is_written_where_its_package_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a base draws by its own call: SDXL's pipeline marks its pictures by what is installed."""
    monkeypatch.setattr(of_sdxl, "is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(of_sdxl, "StableDiffusionXLWatermarker", object, raising=False)
    pipe = bases.load_any(folder, torch.float32, None)
    assert getattr(pipe, "watermark", None) is None


def test_a_kind_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(UsageError, match="is a FluxPipeline; valid: StableDiffusionPipeline, "):
        bases.load(tmp_path, torch.float32, None)
