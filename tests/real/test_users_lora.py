"""A user's own LoRA of SDXL's class, as kohya's trainers write it, by the documented command line.

They name blocks after the original UNet (input, middle, output), not after diffusers', keep an
alpha that is not the rank, and may tune both text encoders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bench import cli
from bench.cli import main
from bench.contestants import pipelines

LAYERS = 1  # of a block of the tiny UNet
CONTESTANTS = """
  hyper_sd: {{lora: {lora}, scheduler: ddim, spacing: trailing}}
"""


def original(key: str) -> str:
    """A key of kohya's with diffusers' blocks -> the same with the original UNet's."""
    found = re.match(r"lora_unet_(down|up)_blocks_(\d+)_attentions_(\d+)_", key)
    if found is None:
        return key.replace("lora_unet_mid_block_attentions_0_", "lora_unet_middle_block_1_")
    block, layer = int(found[2]), int(found[3])
    number = block * (LAYERS + 1) + layer
    name = f"input_blocks_{number + 1}" if found[1] == "down" else f"output_blocks_{number}"
    return f"lora_unet_{name}_1_{key[found.end() :]}"


@pytest.fixture
def folder(sdxl_files: Path, tiny_suite: Callable[..., Path]) -> Path:
    """A working directory: a suite whose contestant has a LoRA in PEFT's keys, and the same LoRA
    as kohya writes it (`unet.safetensors`): half the alpha, twice the weights."""
    contestants = CONTESTANTS.format(lora=sdxl_files / "peft.safetensors")
    folder = tiny_suite(contestants, [2], prompts=2)
    state = {original(k): v.clone() for k, v in load_file(sdxl_files / "kohya.safetensors").items()}
    assert not any(re.match("lora_unet_(down|mid|up)_", key) for key in state)
    for key in state:
        if key.endswith("alpha"):
            state[key] = state[key] / 2
        elif "lora_up" in key:
            state[key] *= 2
    save_file(state, folder / "unet.safetensors")
    return folder


def text_keys() -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 of both text encoders (widths 16 and 24), in kohya's keys."""
    rng = torch.Generator().manual_seed(7)
    found = {}
    for number, width in ((1, 16), (2, 24)):
        sides = {f"self_attn_{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
        sides |= {"mlp_fc1": (width, 2 * width), "mlp_fc2": (2 * width, width)}
        for part, (inside, outside) in sides.items():
            name = f"lora_te{number}_text_model_encoder_layers_0_{part}"
            found[f"{name}.lora_down.weight"] = torch.randn((4, inside), generator=rng) * 0.3
            found[f"{name}.lora_up.weight"] = torch.randn((outside, 4), generator=rng) * 0.3
            found[f"{name}.alpha"] = torch.tensor(2.0)
    return found


def drawn(folder: Path, lora: str) -> tuple[Any, Any]:
    """The pictures of `mine` and of the suite's own contestant."""
    words = [f"+contestants.mine.lora={lora}", "+contestants.mine.like=hyper_sd"]
    assert main(["suite=tiny.yaml", "out=run", "device=cpu", *words]) == 0
    mine, theirs = (
        np.stack([np.asarray(Image.open(p)) for p in sorted(part.glob("*.png"))]).astype(int)
        for part in (folder / f"run/images/{name}-2step" for name in ("mine", "hyper_sd"))
    )
    return mine, theirs


def test_it_draws_what_the_same_weights_in_pefts_keys_draw(folder: Path) -> None:
    mine, theirs = drawn(folder, "unet.safetensors")
    assert mine.shape == (2, 64, 64, 3) and np.abs(mine - theirs).max() <= 1


def test_text_encoders_get_their_part_by_its_alpha(folder: Path) -> None:
    """Expected: the weight plus alpha / rank times up times down, here 2 / 4."""
    text = text_keys()
    save_file(load_file(folder / "unet.safetensors") | text, folder / "all.safetensors")
    words = ["suite=tiny.yaml", "+contestants.mine.lora=all.safetensors"]
    suite = cli.read([*words, "+contestants.mine.like=hyper_sd"]).suite
    assert suite is not None
    settings = suite.contestants[-1]
    tuned = pipelines.pipeline(settings, folder / "all.safetensors", torch.device("cpu"))
    plain = pipelines.base(Path(settings.base), torch.device("cpu"))
    for number, part in ((1, tuned.text_encoder), (2, tuned.text_encoder_2)):
        before = (plain.text_encoder, plain.text_encoder_2)[number - 1].state_dict()
        for name, value in part.state_dict().items():
            module = name.removeprefix("text_model.").removesuffix(".weight").replace(".", "_")
            key = f"lora_te{number}_text_model_{module}"
            expected = before[name]
            if f"{key}.alpha" in text:
                up, down = (text[f"{key}.lora_{half}.weight"] for half in ("up", "down"))
                expected = expected + up @ down * 2 / 4
                assert not torch.allclose(value, before[name], atol=0.01)
            torch.testing.assert_close(value, expected, msg=name)
    mine, theirs = drawn(folder, "all.safetensors")
    assert np.abs(mine - theirs).max() > 1
