"""`vae=` and `vae_precision=`: another decoder, part of the identity, refused where it is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image

from bench.cli import main, read
from bench.contestants import pipelines
from bench.contestants.files import references

WORDS = ["suite=tiny.yaml", "device=cpu"]


@pytest.fixture
def folder(tiny_suite: Callable[..., Path]) -> Path:
    return tiny_suite("  teacher: {steps: [2], guidance: 3}", [2], prompts=2)


@pytest.fixture
def own(tiny_sdxl: Path, folder: Path) -> Callable[..., Path]:
    """(settings of the configuration) -> a brighter decoder, which does not overflow in fp16."""

    def saved(**settings: Any) -> Path:
        vae: Any = AutoencoderKL.from_pretrained(tiny_sdxl, subfolder="vae")
        vae.register_to_config(**{"force_upcast": False, **settings})
        with torch.no_grad():
            vae.decoder.conv_out.bias.add_(0.5)
        vae.save_pretrained(folder / "own_vae")
        return folder / "own_vae"

    return saved


def run(folder: Path, out: str, *words: str) -> tuple[str, np.ndarray]:
    """The identity of the only contestant, and its pictures."""
    assert main([*WORDS, f"out={out}", *words]) == 0
    (found,) = json.loads((folder / out / "result.json").read_text())["contestants"]
    paths = sorted((folder / out / "images").glob("*/*.png"))
    return found["identity"], np.stack([np.asarray(Image.open(p)).astype(int) for p in paths])


def test_bf16_decodes_the_same_but_for_rounding(folder: Path) -> None:
    (identity, plain), (other, half) = run(folder, "a"), run(folder, "b", "vae_precision=bf16")
    assert identity != other and 0 < np.abs(plain - half).mean() < 1
    again, same = run(folder, "c", "contestants.teacher.vae_precision=fp32")
    assert again == identity and (same == plain).all()


def test_a_vae_of_its_own_decodes(folder: Path, own: Callable[..., Path]) -> None:
    (identity, plain), (other, brighter) = run(folder, "a"), run(folder, "b", f"vae={own()}")
    assert identity != other and (brighter - plain).mean() > 10
    of_one, same = run(folder, "c", f"contestants.teacher.vae={folder / 'own_vae'}")
    assert of_one == other and (same == brighter).all()


def test_it_has_the_precision_of_the_networks_where_it_does_not_overflow(
    folder: Path, own: Callable[..., Path], tiny_sdxl: Path
) -> None:
    assert loaded("precision=bf16").dtype == torch.float32  # the base's would overflow in fp16
    assert loaded("precision=bf16", "vae_precision=bf16").dtype == torch.bfloat16
    assert loaded("precision=bf16", f"vae={own()}").dtype == torch.bfloat16
    assert loaded("precision=fp16", f"vae={own()}", "vae_precision=fp32").dtype == torch.float32
    assert loaded().dtype == torch.float32


def loaded(*words: str) -> Any:
    """The VAE of the only contestant of a suite with these words."""
    suite = read(["suite=tiny.yaml", *words]).suite
    assert suite is not None
    return pipelines.pipeline(suite.contestants[0], None, torch.device("cpu")).vae


def test_its_usual_precision_by_name_is_the_same_vae(folder: Path) -> None:
    """One identity, so one set of weights: those that were loaded in bf16, calculated in fp32."""
    usual, named = loaded("precision=bf16"), loaded("precision=bf16", "vae_precision=fp32")
    for name, value in usual.state_dict().items():
        assert torch.equal(named.state_dict()[name], value), name


def test_in_another_precision_it_is_of_the_files_that_count(folder: Path, tiny_sdxl: Path) -> None:
    """A cache may hold files in full precision beside those of half that a run hashes."""
    pipe: Any = DiffusionPipeline.from_pretrained(tiny_sdxl)
    pipe.save_pretrained(folder / "both")
    with torch.no_grad():
        pipe.vae.decoder.conv_out.bias.fill_(0.5)
    pipe.save_pretrained(folder / "both", variant="fp16")
    for words, of_half in (
        (["precision=bf16", "vae_precision=bf16"], True),
        (["precision=fp32", "vae_precision=bf16"], False),
    ):
        bias = loaded("base=both", *words).decoder.conv_out.bias
        assert bool((bias == 0.5).all()) == of_half


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vae_precision=fp16"], "vae=hf://madebyollin/sdxl-vae-fp16-fix"),
        (["vae_precision=fp61"], "valid: bf16, fp16, fp32"),
        (["vae=nowhere"], "vae=nowhere: no such file or folder"),
        (["vae=."], "vae=.: no VAE; valid: a folder with config.json"),
    ],
)
def test_what_is_none_is_one_line(folder: Path, capsys: Any, words: list[str], said: str) -> None:
    capsys.readouterr()
    assert main([*WORDS, "out=run", *words]) == 2
    found = capsys.readouterr()
    assert said in found.out + found.err and "Traceback" not in found.err


def test_a_vae_of_other_latents_is_refused(
    folder: Path, own: Callable[..., Path], capsys: Any
) -> None:
    assert main([*WORDS, f"vae={own(scaling_factor=0.18215)}"]) == 2
    said = "its scaling_factor is 0.18215, the base's 0.13025"
    assert said in capsys.readouterr().err


def test_one_on_the_hub_is_fetched_with_its_configuration() -> None:
    suite = read(["suite=sdxl_1step", "vae=hf://madebyollin/sdxl-vae-fp16-fix"]).suite
    assert suite is not None
    for settings in suite.contestants:
        names = [ref.path for ref in references(settings) if "fp16-fix" in ref.repo]
        assert names == ["config.json", "diffusion_pytorch_model.safetensors"]
