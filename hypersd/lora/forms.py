"""The keys of a LoRA's file -> its layers and their parts, by names alone.

Accepted are the keys of diffusers (those of before PEFT, too), of PEFT, and of kohya's trainers,
which A1111 and ComfyUI load. In all of them a layer is two factors, A ("down") and B ("up"), with
an alpha and, in a DoRA, magnitudes beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from hypersd.errors import FileError, listed

UNET, TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2 = NETWORKS = (
    "unet", "transformer", "text_encoder", "text_encoder_2",
)  # fmt: skip
WRAPPED = "base_model.model."  # PEFT's, before the names of the network that it wraps
KOHYA = {
    "lora_unet_": UNET,
    "lora_te_": TEXT_ENCODER,
    "lora_te1_": TEXT_ENCODER,
    "lora_te2_": TEXT_ENCODER_2,
    "lycoris_": UNET,
}
_DOTTED = {**{f"{name}.": name for name in NETWORKS}, "diffusion_model.": UNET}

_PARTS = {
    "down": r"(\.lora_A(\.default)?|\.lora_down|[._]lora\.down|\.lora_linear_layer\.down)\.weight",
    "up": r"(\.lora_B(\.default)?|\.lora_up|[._]lora\.up|\.lora_linear_layer\.up)\.weight",
    "alpha": r"([._]lora)?\.alpha",
    "magnitude": r"\.lora_magnitude_vector(\.default)?(\.weight)?",
    "dora_scale": r"\.dora_scale",
}
_OTHER_FORMS = {
    "LoHa": r"\.hada_",
    "LoKr": r"\.lokr_",
    "BOFT": r"\.boft_",
    "OFT": r"\.oft_",
    "IA3": r"\.ia3_|\.on_input$",
    "GLoRA": r"\.[ab][12]\.weight$",
    "VeRA": r"\.vera_",
    "AdaLoRA": r"\.lora_E\b|\.ranknum\b",
    "DyLoRA": r"\.(up|down)_list\.",
    "whole differences (diff)": r"\.diff(_b)?$",
    "weights of norms": r"\.[wb]_norm$",
    "Tucker factors (lora_mid)": r"\.lora_mid\.",
    "a LoRA of embeddings": r"\.lora_embedding_[AB]",
    "a LoRA of biases": r"lora.*\.bias$",
    "whole modules (modules_to_save)": r"\.modules_to_save\.",
    "a Control-LoRA": r"^lora_controlnet$",
    "a textual inversion": r"^bundle_emb\.|^emb_params$|^string_to_param",
    "quantised factors": r"\.(quant_state|absmax|quant_map|scale_weight)\b",
}
VALID = "a LoRA or DoRA of linear layers and convolutions, in keys of diffusers, PEFT or kohya"


@dataclass(frozen=True)
class LayerKeys:
    """A layer: its network, its module as the file names it ("." are "_" in kohya's form), and the
    key of each part: "down" and "up" always, of "alpha", "magnitude" and "dora_scale" some."""

    network: str
    module: str
    kohya: bool
    parts: dict[str, str] = field(default_factory=dict)


def layers(keys: Iterable[str]) -> list[LayerKeys]:
    """All keys of a file, sorted into layers, in the file's order.

    Raises FileError for another form, a key of none of the layers' parts, a part that is there
    twice, and a layer that is not whole.
    """
    keys = list(keys)
    found: dict[tuple[str, str, bool], LayerKeys] = {}
    _refuse_unprintable(keys)
    _refuse_other_forms(keys)
    strangers = []
    for key in keys:
        match = _KEY.fullmatch(key)
        part = match.lastgroup if match else None
        if match is None or part is None:
            strangers.append(key)
            continue
        place = _place(match["module"])
        layer = found.setdefault(place, LayerKeys(*place))
        if layer.parts.setdefault(part, key) != key:
            raise FileError(f"{layer.parts[part]} and {key} are of one layer; valid: {VALID}")
    if strangers or not found:
        raise FileError(f"{len(strangers)} of {len(keys)} keys are no LoRA's: {listed(strangers)}; "
                        f"valid: {VALID}")  # fmt: skip
    _refuse_halves(found.values())
    return list(found.values())


def _refuse_unprintable(keys: list[str]) -> None:
    hidden = [ascii(key) for key in keys if not key.isprintable()]
    if hidden:
        raise FileError(f"{len(hidden)} keys cannot be printed: {listed(hidden)}; valid: {VALID}")


def _refuse_other_forms(keys: list[str]) -> None:
    """Raises FileError that names the form of keys that are no LoRA's, though near to one."""
    for form, pattern in _OTHER_FORMS.items():
        those = [key for key in keys if re.search(pattern, key)]
        if those:
            raise FileError(f"holds {form}, in {len(those)} of {len(keys)} keys: {listed(those)}; "
                            f"valid: {VALID}")  # fmt: skip


def _refuse_halves(found: Collection[LayerKeys]) -> None:
    halves = [layer for layer in found if not {"down", "up"} <= layer.parts.keys()]
    if halves:
        those = listed([key for layer in halves for key in layer.parts.values()])
        raise FileError(f"{len(halves)} of {len(found)} layers are not whole: {those}; "
                        "valid: A and B of each")  # fmt: skip
    twice = [layer for layer in found if {"magnitude", "dora_scale"} <= layer.parts.keys()]
    if twice:
        raise FileError(f"{listed(list(twice[0].parts.values()))}: two magnitudes; valid: one")


def _place(written: str) -> tuple[str, str, bool]:
    """The network, the module and whether it is kohya's form, of a key without its ending."""
    for prefix, network in KOHYA.items():
        if written.startswith(prefix):
            return network, written.removeprefix(prefix), True
    name = written.removeprefix(WRAPPED)
    for prefix, network in _DOTTED.items():
        if name.startswith(prefix):
            return network, _after_peft(name.removeprefix(prefix)), False
    return UNET, _after_peft(name), False


def _after_peft(name: str) -> str:
    """A module's name, from the one it had in diffusers before PEFT where it differs."""
    name = name.replace(".processor.", ".")
    name = re.sub(r"\.self_attn\.to_(q|k|v|out)$", r".self_attn.\1_proj", name)
    return re.sub(r"\.to_out$", ".to_out.0", name)


def _endings() -> str:
    plain = {part: ending.replace("(", "(?:") for part, ending in _PARTS.items()}
    return "|".join(f"(?P<{part}>{ending})" for part, ending in plain.items())


_KEY = re.compile(f"(?P<module>.+?)(?:{_endings()})")
