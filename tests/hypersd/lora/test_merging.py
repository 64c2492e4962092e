"""What a LoRA's file makes of every weight, against the closed form and the libraries' own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from hypersd.lora import merging, reader
from tests.hypersd.lora.conftest import Networks
from tests.hypersd.lora.written import FORMS, Part, expected, part, write

ORIGINALS = {
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.3.0.skip_connection",
    "down_blocks.1.attentions.0.proj_in": "input_blocks.3.1.proj_in",
    "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k":
        "input_blocks.3.1.transformer_blocks.1.attn2.to_k",
    "mid_block.resnets.1.time_emb_proj": "middle_block.2.emb_layers.1",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj":
        "middle_block.1.transformer_blocks.0.ff.net.0.proj",
    "up_blocks.0.resnets.1.conv2": "output_blocks.1.0.out_layers.3",
    "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0":
        "output_blocks.1.1.transformer_blocks.0.attn1.to_out.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0.conv1": "output_blocks.2.0.in_layers.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "time_embedding.linear_2": "time_embed.2",
}  # fmt: skip
"""Modules of the UNet and their names in the original one, written down by hand for one layer a
block and a down- and an upsampler in the first of two."""
TEXT = "text_model.encoder.layers.0"
MODULES = [("unet", name) for name in ORIGINALS] + [
    (f"text_encoder{number}", f"{TEXT}.{module}")
    for number in ("", "_2") for module in ("self_attn.q_proj", "mlp.fc1")
]  # fmt: skip
EXAMPLES = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def module_of(networks: Networks, network: str, name: str) -> Any:
    there = dict(networks[network].named_modules())
    return there.get(name) or there[name.removeprefix("text_model.")]


@st.composite
def chosen(draw: Any, networks: Networks, form: str, dora: bool) -> list[Part]:
    """Parts of one to five modules: a rank, an alpha and a place of their own each."""
    kohya = form in ("kohya", "original")
    where = draw(st.lists(st.sampled_from(MODULES if kohya else MODULES[: len(ORIGINALS)]),
                          min_size=1, max_size=5, unique=True))  # fmt: skip
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return [
        part(network, module_of(networks, network, name), name, rng, dtype=dtype,
             rank=draw(st.integers(1, 5)),
             alpha=draw(st.none() | st.sampled_from([0.5, 1.0, 3.0, 8.0])),
             axis=draw(st.integers(0, int(kohya))) if dora else None)
        for network, name in where
    ]  # fmt: skip


@EXAMPLES
@given(data=st.data())
def test_every_weight_is_the_closed_form(networks: Networks, data: Any) -> None:
    """The change of each weight, from the file's numbers in float64; all other weights stay."""
    form = data.draw(st.sampled_from(FORMS))
    parts = data.draw(chosen(networks, form, data.draw(st.booleans())))
    half, pickled, rslora, config = (data.draw(st.booleans()) for _ in range(4))
    lora_scale = data.draw(st.sampled_from([1.0, 0.6, -1.0]))
    tuned = {name: copy.deepcopy(own) for name, own in networks.items()}
    if half:
        tuned = {name: own.half() for name, own in tuned.items()}
    before = {name: copy.deepcopy(own.state_dict()) for name, own in tuned.items()}
    with TemporaryDirectory() as folder:
        path, scales = write(Path(folder), form, parts, pickled=pickled, rslora=rslora,
                             config=config, originals=ORIGINALS)  # fmt: skip
        assert merging.merge(reader.read(reader.find(path)), tuned, lora_scale)
    for one, scale in zip(parts, scales, strict=True):
        module = module_of(tuned, one.network, one.module)
        name = next(n for n, own in tuned[one.network].named_modules() if own is module)
        plain = before[one.network].pop(f"{name}.weight")
        whole = expected(plain, one, scale, lora_scale)
        error = np.abs(module.weight.detach().double().numpy() - whole).max()
        assert error <= (1e-3 if half else 1e-5) * np.abs(whole).max()
    for network, kept in before.items():
        now = tuned[network].state_dict()
        assert all(torch.equal(now[name], value) for name, value in kept.items())


def fused(networks: Networks, folder: Path, scale: float, **words: Any) -> dict[str, Any]:
    """PEFT's own: an adapter of random numbers, saved by PEFT, and the UNet that it gives."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["to_k", "conv1", "proj_in", "net.2"],
        rank_pattern={r"down_blocks.*\.to_k": 2}, alpha_pattern={"proj_in": 3, "attn2.to_k": 5},
        init_lora_weights=False, **words,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        adapted = get_peft_model(copy.deepcopy(networks["unet"]), config)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "magnitude" in name:
                value.mul_(1.5)
    adapted.save_pretrained(folder)
    for module in adapted.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(scale)
    merged: dict[str, Any] = adapted.merge_and_unload().state_dict()
    return merged


@pytest.mark.parametrize(
    ("words", "scale"),
    [({}, 1.0), ({"use_rslora": True}, 0.6), ({"use_dora": True}, 1.0), ({"use_dora": True}, 0.6)],
)
def test_pefts_folder_is_merged_as_peft_does(
    networks: Networks, tmp_path: Path, words: dict[str, Any], scale: float
) -> None:
    theirs = fused(networks, tmp_path, scale, **words)
    ours = {"unet": copy.deepcopy(networks["unet"])}
    assert merging.merge(reader.read(reader.find(tmp_path)), ours, scale)
    for name, value in ours["unet"].state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=name)
    assert not torch.equal(theirs["down_blocks.0.resnets.0.conv1.weight"],
                           networks["unet"].down_blocks[0].resnets[0].conv1.weight)  # fmt: skip


def test_every_module_has_the_name_that_diffusers_takes_for_it(networks: Networks) -> None:
    """diffusers' own conversion of the original UNet's names, for every layer of the UNet."""
    from diffusers.loaders import lora_conversion_utils as theirs

    from hypersd.lora.names import originals

    unet = networks["unet"]
    names = {name for name, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    found = originals(names)
    assert found.keys() == names and ORIGINALS.items() <= found.items()
    for name, original in found.items():
        key = f"lora_unet_{original.replace('.', '_')}.lora_down.weight"
        mapped = theirs._maybe_map_sgm_blocks_to_diffusers({key: 0}, unet.config)
        module = theirs._convert_unet_lora_key(next(iter(mapped))).replace(".processor", "")
        module = module.removesuffix(".lora.down.weight").removesuffix("_lora.down.weight")
        assert module in (name, name.removesuffix(".0"))


def halves_elsewhere(state: dict[str, Any]) -> None:
    for key in list(state)[: len(state) // 2]:
        state[key.replace("unet.", "unet.foo_")] = state.pop(key)


def half_gone(state: dict[str, Any]) -> None:
    del state["unet.conv_in.lora_A.weight"]


def put(key: str, value: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({key: value})


A, B = "unet.conv_in.lora_A.weight", "unet.conv_in.lora_B.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (halves_elsewhere, r"1 of 2 layers are not in this base's networks: unet: foo_conv_in; "),
        (half_gone, r"1 of 2 layers are not whole: unet\.conv_in\.lora_B\.weight; valid: A and B"),
        (put("unet.conv_in.alpha_", torch.ones(1)), "1 of 5 keys are no LoRA's: unet.conv_in.alp"),
        (put("unet.x.alpha", torch.ones(1)), "1 of 3 layers are not whole: unet.x.alpha"),
        (put(A, torch.full((2, 4, 3, 3), torch.nan)), "lora_A.weight is not finite"),
        (put(A, torch.ones(2, 4, 3, 3, dtype=torch.int8)), "holds int8; valid: floating point"),
        (put(A, torch.ones(3, 4, 3, 3)), r"\[3, 4, 3, 3\] and .* valid: A \[rank, inputs"),
        (put(A, torch.ones(2, 4, 1, 1)), "conv_in is 16 x 4 x 1 x 1, in this base 16 x 4 x 3 x 3"),
        (put("lora_unet_conv_in.lora_down.weight", torch.ones(2, 4, 3, 3)), "not whole"),
        (put("unet.conv_in.dora_scale", torch.ones(3)), r"dora_scale \[3\]; valid: one number"),
        (put("unet.conv_in.alpha", torch.ones(2)), "alpha .2.; valid: one number"),
        (put(B, 1e38 * torch.ones(16, 2, 1, 1)), "is not finite with it"),
    ],
)  # fmt: skip
def test_what_is_not_used_is_refused_and_nothing_is_changed(
    networks: Networks, tmp_path: Path, change: Any, says: str
) -> None:
    rng = torch.Generator().manual_seed(0)
    name = "time_embedding.linear_2"
    parts = [
        part("unet", module_of(networks, "unet", n), n, rng, rank=2, alpha=None, axis=None,
             dtype=torch.float32) for n in ("conv_in", name)
    ]  # fmt: skip
    path, _ = write(tmp_path, "diffusers", parts, pickled=False, rslora=False, config=False,
                    originals={})  # fmt: skip
    state = {key: value.clone() * 4 for key, value in load_file(path).items()}
    change(state)
    save_file(state, path)
    unet = copy.deepcopy(networks["unet"])
    with pytest.raises(reader.FileError, match=says) as caught:
        merging.merge(reader.read(path), {"unet": unet})
    assert "\n" not in str(caught.value)
    assert torch.equal(unet.conv_in.weight, networks["unet"].conv_in.weight)
