"""What a LoRA's header says is read, or refused by name, before any weight is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hypersd.errors import FileError
from hypersd.lora import forms, reader

NAME = "lora_unet_mid_block_attentions_0_proj_in"
OTHERS = {
    "LoHa": f"{NAME}.hada_w1_a",
    "LoKr": f"{NAME}.lokr_w1",
    "OFT": f"{NAME}.oft_blocks",
    "BOFT": "base_model.model.mid_block.boft_R",
    "IA3": "base_model.model.mid_block.ia3_l",
    "GLoRA": f"{NAME}.a1.weight",
    "VeRA": "base_model.model.mid_block.vera_lambda_b",
    "AdaLoRA": "base_model.model.mid_block.lora_E",
    "DyLoRA": f"{NAME}.up_list.0",
    "whole differences": f"{NAME}.diff_b",
    "weights of norms": f"{NAME}.w_norm",
    "Tucker factors": f"{NAME}.lora_mid.weight",
    "a LoRA of embeddings": "base_model.model.x.lora_embedding_A",
    "a LoRA of biases": "unet.mid_block.lora_B.bias",
    "a textual inversion": "bundle_emb.style.clip_l",
}


@pytest.mark.parametrize("form", OTHERS)
def test_another_form_is_refused_by_its_name(form: str) -> None:
    """Beside a layer that is a LoRA's, too."""
    keys = [f"{NAME}.lora_down.weight", f"{NAME}.lora_up.weight", OTHERS[form]]
    with pytest.raises(FileError, match=f"^holds {form}.* 1 of 3 keys: .*; valid: a LoRA or DoRA"):
        forms.layers(keys)


def test_a_name_that_would_break_a_line_is_refused() -> None:
    with pytest.raises(FileError, match=r"^1 keys cannot be printed: 'unet\.x\\n\.alpha'; valid"):
        forms.layers(["unet.x\n.alpha"])


def test_one_layer_in_two_ways_is_refused() -> None:
    both = ["unet.x.to_q.lora_A.weight", "unet.x.processor.to_q_lora.down.weight"]
    with pytest.raises(FileError, match="are of one layer"):
        forms.layers([*both, "unet.x.to_q.lora_B.weight"])


@pytest.mark.parametrize(
    ("key", "module"),
    [
        ("unet.x.attn1.processor.to_out_lora.down.weight", ("unet", "x.attn1.to_out.0")),
        ("text_encoder.x.self_attn.to_v_lora.down.weight", ("text_encoder", "x.self_attn.v_proj")),
        ("text_encoder_2.x.fc1.lora_linear_layer.down.weight", ("text_encoder_2", "x.fc1")),
        ("base_model.model.x.to_q.lora_A.default.weight", ("unet", "x.to_q")),
        ("x.to_q.lora_A.weight", ("unet", "x.to_q")),
        ("lycoris_x_to_q.lora_down.weight", ("unet", "x_to_q")),
        ("lora_te_x_fc1.lora_down.weight", ("text_encoder", "x_fc1")),
        ("lora_te2_x_fc1.lora_down.weight", ("text_encoder_2", "x_fc1")),
    ],
)
def test_keys_of_every_trainer_name_their_layer(key: str, module: tuple[str, str]) -> None:
    other = key.replace("lora_A", "lora_B").replace("down", "up")
    (layer,) = forms.layers([key, other])
    assert (layer.network, layer.module) == module
    assert layer.parts == {"down": key, "up": other}


def peft(folder: Path, config: Any, rank: int = 4) -> Path:
    """PEFT's folder of one layer; config: what stands in its configuration, None for none."""
    key = "base_model.model.conv_in.lora_{}.weight"
    state = {key.format("A"): torch.ones(rank, 4), key.format("B"): torch.ones(8, rank)}
    save_file(state, folder / "adapter_model.safetensors")
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return reader.find(folder)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "holds no alpha; valid: with its adapter_config.json beside it"),
        ([1], "adapter_config.json cannot be read"),
        ({"peft_type": "LOHA"}, "peft_type is LOHA; valid: LORA"),
        ({"r": 4, "init_lora_weights": "pissa"}, "init_lora_weights=pissa changed the base"),
        ({"r": 4, "lora_alpha": "x"}, "lora_alpha=x; valid: as PEFT writes it"),
        ({"r": 4, "lora_alpha": 10**400}, "lora_alpha=10+; valid: as PEFT writes it"),
        ({"r": 4, "use_dora": True}, "no magnitude, its configuration says use_dora=True"),
        ({"r": 4, "use_qalora": True}, "use_qalora=True is not merged here"),
    ],
)
def test_a_configuration_that_is_not_merged_is_refused_by_the_header(
    tmp_path: Path, config: Any, says: str
) -> None:
    path = peft(tmp_path, config)
    for look in (reader.check, reader.read):
        with pytest.raises(FileError, match=says):
            look(path)


def test_a_configuration_of_another_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="conv_in has rank 4, its configuration says 8"):
        reader.read(peft(tmp_path, {"r": 8}))


def test_an_alpha_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = {f"unet.x.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}
    about = {"unet.r": 4, "unet.lora_alpha": 8}
    save_file(state | {"unet.x.alpha": torch.tensor(4)}, path,
              metadata={"lora_adapter_metadata": json.dumps(about)})  # fmt: skip
    with pytest.raises(FileError, match="makes a scale of 1, the configuration one of 2"):
        reader.read(path)


def test_fp8_is_read_as_numbers(tmp_path: Path) -> None:
    state = {f"unet.x.lora_{half}.weight": torch.full((4, 4), 1.25).to(torch.float8_e4m3fn)
             for half in "AB"}  # fmt: skip
    save_file(state, tmp_path / "x.safetensors")
    (layer,) = reader.read(tmp_path / "x.safetensors")
    assert torch.equal(layer.down, torch.full((4, 4), 1.25)) and layer.scale == 1


def test_a_pickle_holds_tensors_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for held in ({"x": 3}, [1], {"state_dict": {"x": reader.read}}):
        torch.save(held, path)
        with pytest.raises(FileError, match=r"valid: a (PyTorch file|state_dict)"):
            reader.read(path)
    path.write_bytes(b"damaged")
    with pytest.raises(FileError, match="damaged"):
        reader.read(path)
