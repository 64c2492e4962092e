"""A LoRA as a contestant's file: all of it is in the pictures, or one line says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from bench.contestants import files, identity, pipelines
from bench.errors import UsageError
from bench.suite import contestant
from bench.suite.contestant import ContestantSettings, Row
from bench.suite.prompts import PromptSet
from hypersd.hashes import Hashes

CPU = torch.device("cpu")
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{}.weight"


def settings(path: Path, base: Path, **words: Any) -> ContestantSettings:
    return contestant.read("mine", {"lora": str(path), "base": str(base), **words}, (1,))


def unet(path: Path, base: Path, **words: Any) -> dict[str, torch.Tensor]:
    """The UNet's weights as the contestant has them."""
    mine = settings(path, base, **words)
    file = files.weight_file("contestants.mine", mine)
    found: dict[str, torch.Tensor] = pipelines.pipeline(mine, file, CPU).unet.state_dict()
    return found


def named(path: Path, base: Path, folder: Path) -> str:
    row = Row(settings(path, base), 1)
    return identity.contestant(row, PromptSet("x", ("a",)), Hashes())


@pytest.fixture
def state(tiny_lora: Path) -> dict[str, torch.Tensor]:
    return load_file(tiny_lora / files.LORA_FILE)


def test_a_lora_of_which_half_is_elsewhere_is_refused(
    tiny_base: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    modules = sorted({key.split(".lora_")[0] for key in state})
    for key in [key for key in state if key.split(".lora_")[0] in modules[::2]]:
        state[key.replace("unet.", "unet.foo_")] = state.pop(key)
    save_file(state, tmp_path / "x.safetensors")
    said = rf"x\.safetensors: cannot be loaded \({len(modules[::2])} of {len(modules)} layers are "
    with pytest.raises(
        UsageError, match=said + r"not in this base's networks: unet: foo_.*; valid: a LoRA"
    ):
        unet(tmp_path / "x.safetensors", tiny_base)


def test_ranks_and_alphas_of_each_layer_count(
    tiny_base: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """kohya's form of a LoRA whose ranks differ, alpha = rank, and the same in PEFT's keys."""
    kohya, plain = {}, {}
    for i, a in enumerate(sorted(key for key in state if ".lora_A." in key)):
        b, rank = a.replace("lora_A", "lora_B"), 1 + i % 4
        down, up = state[a][:rank].clone(), state[b][:, :rank].contiguous()
        name = a.removesuffix(".lora_A.weight").replace(".", "_")
        kohya |= {f"lora_{name}.lora_down.weight": down, f"lora_{name}.lora_up.weight": up,
                  f"lora_{name}.alpha": torch.tensor(float(rank))}  # fmt: skip
        plain |= {a: down, b: up}
    save_file(kohya, tmp_path / "k.safetensors")
    save_file(plain, tmp_path / "p.safetensors")
    ours, theirs = (unet(tmp_path / f"{name}.safetensors", tiny_base) for name in "kp")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_an_alpha_in_the_metadata_counts_as_in_diffusers(
    tiny_base: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    layers = {key.removeprefix("unet."): value for key, value in state.items()}
    modules = sorted({key.split(".lora_")[0] for key in layers})
    about = {"r": 4, "lora_alpha": 6, "target_modules": modules, "use_rslora": True}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=about
    )
    theirs = StableDiffusionPipeline.from_pretrained(tiny_base)
    theirs.load_lora_weights(tmp_path)
    theirs.fuse_lora(lora_scale=0.5)
    theirs.unload_lora_weights()
    ours = unet(tmp_path, tiny_base, lora_scale=0.5)
    for name, value in theirs.unet.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)


def test_pefts_folder_is_a_lora_and_its_configuration_a_part_of_the_identity(
    tiny_base: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    theirs = {key.replace("unet.", "base_model.model."): value for key, value in state.items()}
    save_file(theirs, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UsageError, match=r"valid: with its adapter_config\.json beside it"):
        named(tmp_path, tiny_base, tmp_path)
    config = tmp_path / "adapter_config.json"
    found = []
    for alpha in (4, 2):
        config.write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": alpha}))
        found.append((named(tmp_path, tiny_base, tmp_path), unet(tmp_path, tiny_base)))
    assert found[0][0] != found[1][0]
    save_file(state, tmp_path / "plain.safetensors")
    for (_, ours), scale in zip(found, (1.0, 0.5), strict=True):
        expected = unet(tmp_path / "plain.safetensors", tiny_base, lora_scale=scale)
        assert all(torch.equal(value, ours[name]) for name, value in expected.items())


def test_a_lora_of_the_text_encoder_alone_leaves_the_unet(tiny_base: Path, tmp_path: Path) -> None:
    plain = pipelines.base(tiny_base, CPU)
    width = plain.text_encoder.config.hidden_size
    path = tmp_path / "x.safetensors"
    save_file({TEXT.format("A"): torch.ones(2, width), TEXT.format("B"): torch.ones(width, 2)},
              path)  # fmt: skip
    mine = pipelines.pipeline(settings(path, tiny_base), path, CPU)
    changed = {
        name: (value - plain.text_encoder.state_dict()[name]).unique().tolist()
        for name, value in mine.text_encoder.state_dict().items()
        if not torch.equal(value, plain.text_encoder.state_dict()[name])
    }
    (name,) = changed
    assert name.endswith("layers.0.self_attn.q_proj.weight")
    assert changed[name] == pytest.approx([2.0] * len(changed[name]), abs=1e-5)
    theirs = plain.unet.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in mine.unet.state_dict().items())


def test_a_lora_that_changes_nothing_is_refused(
    tiny_base: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({key: torch.zeros_like(value) for key, value in state.items()}, path)
    with pytest.raises(UsageError, match="changes no weight"):
        unet(path, tiny_base)
    unet(path, tiny_base, lora_scale=0.0)


def test_another_kind_of_file_is_refused_by_the_plan(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    """A LoHa, half a layer and a whole UNet as a LoRA, and a LoRA as a UNet."""
    whole = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").state_dict()
    key = "lora_unet_mid_block_attentions_0_proj_in"
    for state, says in [
        ({f"{key}.hada_w1_a": torch.ones(1)}, "holds LoHa, in 1 of 1 keys"),
        ({f"{key}.lora_up.weight": torch.ones(1, 1)}, "1 of 1 layers are not whole"),
        (whole, f"{len(whole)} of {len(whole)} keys are no LoRA's"),
    ]:
        save_file(state, tmp_path / "x.safetensors")
        with pytest.raises(UsageError, match=says):
            named(tmp_path / "x.safetensors", tiny_base, tmp_path)
    file = tiny_lora / files.LORA_FILE
    with pytest.raises(UsageError, match="holds a LoRA; valid: it as lora="):
        files.of_source(file, "unet")
