"""Maps a LoRA's module names to modules of a network: names of diffusers, or of the original UNet.

kohya's form writes "_" for every "." of a name, which cannot be undone, so that a name is looked up
among those of all modules of the network, written that way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
}
_IN_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(
    r"(?:(?P<side>down|up)_blocks\.(?P<block>\d+)|mid_block)"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def flat(name: str) -> str:
    """A module's name as kohya's form writes it."""
    return name.replace(".", "_")


def written(names: Iterable[str]) -> dict[str, str]:
    """Every way to write the names of a network's modules, flat -> the name itself."""
    names = list(names)
    found = {flat(original): name for name, original in originals(names).items()}
    # files have the wrapper "text_model.", which transformers 5 took off CLIPTextModel's names
    found |= {flat(f"text_model.{name}"): name for name in names}
    return found | {flat(name): name for name in names}


def originals(names: Iterable[str]) -> dict[str, str]:
    """diffusers' names of a UNet's modules -> those of the original UNet, which has one list of
    blocks on the way down (`input_blocks`; a layer, or a downsampler, each) and one on the way up
    (`output_blocks`; an upsampler stands in the last block of its resolution).

    Source: openaimodel.py of CompVis/latent-diffusion and Stability-AI/generative-models.
    """
    names = list(names)
    places = {name: match for name in names if (match := _BLOCK.fullmatch(name))}
    layers = _layers(places.values())
    found = {name: _OUTSIDE[name] for name in names if name in _OUTSIDE}
    for name, place in places.items():
        original = _original(place, layers)
        if original:
            found[name] = original
    return found


def _layers(places: Iterable[re.Match[str]]) -> Counter[tuple[str, int, str]]:
    """How many layers of a kind each block of each side has: {(side, block, kind): count}."""
    seen = {(p["side"], int(p["block"]), p["kind"], p["layer"]) for p in places if p["side"]}
    return Counter((side, block, kind) for side, block, kind, _ in seen)


def _original(place: re.Match[str], layers: Counter[tuple[str, int, str]]) -> str | None:
    kind, layer, rest = place["kind"], int(place["layer"]), place["rest"]
    inside = _IN_RESNET.get(rest) if kind == "resnets" else rest
    if inside is None:
        return None
    if not place["side"]:
        return f"middle_block.{2 * layer + (kind == 'attentions')}.{inside}"
    side, block = place["side"], int(place["block"])
    kinds = ("resnets", "downsamplers") if side == "down" else ("resnets",)
    first = sum(layers[side, before, one] for before in range(block) for one in kinds)
    last = layers[side, block, "resnets"]
    if kind == "downsamplers":
        return f"input_blocks.{1 + first + last}.0.op"
    if kind == "upsamplers":
        part = 1 + bool(layers[side, block, "attentions"])
        return f"output_blocks.{first + last - 1}.{part}.{inside}"
    part = int(kind == "attentions")
    if side == "down":
        return f"input_blocks.{1 + first + layer}.{part}.{inside}"
    return f"output_blocks.{first + layer}.{part}.{inside}"
