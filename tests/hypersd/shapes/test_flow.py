"""The world's second base: its text is the first one's, it trains, diffusers' pipeline draws it and
it is distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from hypersd import loop
from hypersd import recipe as recipes
from hypersd.base import load_base
from hypersd.recipe import Recipe
from hypersd.shapes import flow
from hypersd.shapes.flow import FlowOptions, FlowTask
from tests.hypersd.trainings import rng

CPU = torch.device("cpu")
PROMPTS = ["a red circle", "two blue stars left of a large green ring"]


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FlowTask, Path]:
    """A task after two updates on four scenes, and what it exports."""
    place = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERSD_CACHE", str(place))
        recipe = Recipe(
            name="trial", method="shapes_flow", steps=2, batch=4, lr=1e-2, trackers=[],
            data={"set": "shapes/train", "n": 4},
            options={"folder": str(tiny_base), "layers": 2, "heads": 2, "width": 16, "shift": 2.0},
        )  # fmt: skip
        task: Any = loop.build(recipe, CPU)
        run = loop._Run(recipe, task, place)
        before = task.loss(0, rng())[0].item()
        for run.step in range(8):
            run.update(rng())
        assert task.loss(0, rng())[0].item() < before
        task.preview(place / "preview.png")
        task.export(place / "out")
    return task, place / "out"


@torch.no_grad()
def test_the_text_is_the_first_bases(tiny_base: Path) -> None:
    """The last but one states are the trained encoder's last, before their norm; the pooled text is
    its own."""
    base = load_base(str(tiny_base), CPU)
    pipe = flow.build_pipeline(base, FlowOptions(layers=1, heads=2, width=16))
    found = flow.Sd3(pipe).encode(PROMPTS)
    own, ids = (
        base.family.pipe,
        base.family.pipe.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids,
    )
    theirs = own.text_encoder(ids)
    norm, width = own.text_encoder.final_layer_norm, own.text_encoder.config.hidden_size
    words = found.states[:, :-1]
    torch.testing.assert_close(norm(words[..., :width]), theirs.last_hidden_state)
    assert torch.equal(words[..., :width], words[..., width:])
    assert torch.equal(found.states[:, -1], torch.zeros(2, 2 * width))
    torch.testing.assert_close(found.pooled, theirs.pooler_output.repeat(1, 2))


def test_diffusers_pipeline_draws_what_the_task_does(trained: tuple[FlowTask, Path]) -> None:
    task, out = trained
    pipe = StableDiffusion3Pipeline.from_pretrained(out, text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    z = torch.randn(2, 4, 16, 16, generator=rng())
    theirs = pipe(
        PROMPTS, latents=z, num_inference_steps=4, sigmas=[1.0, 0.75, 0.5, 0.25],
        guidance_scale=3.0, max_sequence_length=1, output_type="pt",
    ).images  # fmt: skip
    mine = (task.draw(PROMPTS, 4) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1 / 255)  # its weights are fp16


def test_it_is_distilled_as_any_base(
    trained: tuple[FlowTask, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    recipe = Recipe(
        name="trial", method="tcd", steps=1, batch=2, lr=1e-2, trackers=[], base=str(trained[1]),
        data={"set": "shapes/train", "n": 4}, options={"guidance": 3.0, "rank": 4},
    )  # fmt: skip
    assert (loop.train(recipe, tmp_path / "out") / "pytorch_lora_weights.safetensors").is_file()


def test_the_recipes_transformer_is_small() -> None:
    options = recipes.load("shapes_flow").read_options(FlowOptions)
    made = flow.build_transformer(load_base("base", CPU), options)
    assert 3e6 < sum(p.numel() for p in made.parameters()) <= 4e6
