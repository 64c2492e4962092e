"""The scale of a LoRA's layers, where the file states it beside the tensors: PEFT's
configuration, in `adapter_config.json` or in the metadata that diffusers writes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hypersd.errors import FileError
from hypersd.lora.forms import NETWORKS, UNET, WRAPPED

CONFIG_NAME = "adapter_config.json"
METADATA_KEY = "lora_adapter_metadata"  # diffusers.loaders.lora_base.LORAADAPTER_METADATA_KEY
ADAPTER = "adapter_model"  # PEFT's name of the weights beside CONFIG_NAME
_LARGE = 1e9  # more than any rank or alpha
_AS_IT_IS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base as it is: PiSSA, OLoRA, CorDA and LoftQ change its weights,
so that A and B alone are not the difference."""
_ELSEWHERE = ("alora_invocation_tokens", "arrow_config", "bias", "kasa_config", "layer_replication",
              "lora_bias", "modules_to_save", "monteclora_config", "target_parameters",
              "trainable_token_indices", "use_bdlora", "use_qalora")  # fmt: skip
"""What makes of PEFT's LoRA something else than scale * BA."""


@dataclass(frozen=True)
class Strength:
    """PEFT's LoraConfig, as far as it changes a difference: rank and alpha, by a module's name
    where a pattern matches; scale alpha / sqrt(rank) where use_rslora; whether it is a DoRA."""

    r: int = 8
    lora_alpha: float = 8
    rank_pattern: Mapping[str, float] | None = None
    alpha_pattern: Mapping[str, float] | None = None
    use_rslora: bool = False
    use_dora: bool = False

    def scale(self, module: str, rank: int) -> float:
        """The factor of BA. Raises FileError where the file's rank is not the one configured."""
        configured = _matching(self.rank_pattern, module, self.r)
        if configured != rank:
            raise FileError(f"{module} has rank {rank}, its configuration says {configured}; "
                            "valid: the two that were saved together")  # fmt: skip
        alpha = _matching(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def config_beside(path: Path, keys: tuple[str, ...] = ()) -> Path | None:
    """PEFT's configuration of a file that PEFT wrote, by the file's name or by its keys.

    Raises FileError where `adapter_model` is without one.
    """
    config = path.with_name(CONFIG_NAME)
    if path.stem != ADAPTER and not any(key.startswith(WRAPPED) for key in keys):
        return None
    if config.is_file():
        return config
    if path.stem == ADAPTER:
        raise FileError(f"holds no alpha; valid: with its {CONFIG_NAME} beside it")
    return None


def strengths(
    path: Path, keys: tuple[str, ...], metadata: Mapping[str, Any]
) -> dict[str, Strength]:
    """The configuration of each network that has one.

    Raises FileError for one that cannot be read, or that stands for something else than LoRA.
    """
    config = config_beside(path, keys)
    if config is not None:
        own = _parsed(config.read_bytes(), config.name)
        return dict.fromkeys(NETWORKS, _strength(own, config.name))
    if METADATA_KEY not in metadata:
        return {}
    held = _parsed(metadata[METADATA_KEY], METADATA_KEY)
    found = {}
    for network in NETWORKS:
        mine = f"{network}."
        own = {key.removeprefix(mine): value for key, value in held.items()
               if key.startswith(mine) or (network == UNET and "." not in key)}  # fmt: skip
        if own:
            found[network] = _strength(own, METADATA_KEY)
    return found


def _parsed(text: Any, where: str) -> dict[str, Any]:
    try:
        held = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise FileError(f"{where} cannot be read; valid: a JSON object, as PEFT writes it")
    return held


def _strength(held: Mapping[str, Any], where: str) -> Strength:
    kind = str(held.get("peft_type") or "LORA").removeprefix("PeftType.")
    if kind != "LORA":
        raise FileError(f"{where}: peft_type is {kind}; valid: LORA")
    init = held.get("init_lora_weights", True)
    if init not in _AS_IT_IS:
        raise FileError(f"{where}: init_lora_weights={init} changed the base, too; valid: a LoRA "
                        "of the base as it was (PEFT converts one on saving)")  # fmt: skip
    for name in _ELSEWHERE:
        if held.get(name) not in (None, False, [], {}, "none"):
            raise FileError(f"{where}: {name}={held[name]} is not merged here; valid: without")
    own = {f.name: held[f.name] for f in fields(Strength) if held.get(f.name) is not None}
    _check(own, where)
    return Strength(**own)


def _check(own: Mapping[str, Any], where: str) -> None:
    for name, value in own.items():
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        right = isinstance(value, dict) == name.endswith("_pattern") and all(map(_number, numbers))
        if name.startswith("use_"):
            right = isinstance(value, bool)
        if not right:
            raise FileError(f"{where}: {name}={value}; valid: as PEFT writes it")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGE  # False for a NaN, too


def _matching(pattern: Mapping[str, float] | None, module: str, usual: float) -> float:
    """The value of the first key that matches. Source: peft.utils.other.get_pattern_key."""
    try:
        return next(
            (value for key, value in (pattern or {}).items()
             if re.match(rf"(.*\.)?({key})$", module)), usual,
        )  # fmt: skip
    except re.error:
        raise FileError("a key of rank_pattern or alpha_pattern is no regular expression") from None
