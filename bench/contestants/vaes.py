"""The VAE that decodes a contestant, and its precision; torch is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from bench.contestants import files
from bench.errors import UsageError, brief
from bench.results.hub import HUB
from bench.suite.contestant import ContestantSettings
from hypersd.hashes import Hashes
from hypersd.hub import wanted_variant
from hypersd.hub_client import NotFetched

UPCAST = "StableDiffusionXLPipeline"  # whose VAE overflows in fp16, where its config.json says so
LATENTS = {"latent_channels": 4, "scaling_factor": 0.18215}  # and what diffusers takes them for
FP16_SAFE = "hf://madebyollin/sdxl-vae-fp16-fix"


def precision(where: str, settings: ContestantSettings) -> str:
    """The precision of the VAE's weights and activations: as given, else fp32 where half precision
    overflows, else that of the other networks.

    Raises UsageError for fp16 where it overflows, and for files that are missing or damaged.
    """
    overflows = _overflows(where, settings)
    given = settings.vae_precision
    if given == "fp16" and overflows:
        raise UsageError(
            f"{where}.vae_precision=fp16: its VAE overflows in fp16 (black pictures); valid: fp32, "
            f"bf16, or with vae={FP16_SAFE}"
        )
    return given or _usual(where, settings)


def parts(where: str, settings: ContestantSettings, hashes: Hashes) -> dict[str, object]:
    """The VAE's part of a contestant's identity: empty for the base's own VAE in its usual
    precision. Raises UsageError as `precision`."""
    found: dict[str, object] = {}
    if settings.vae:
        own = folder(where, settings)
        found["vae"] = hashes.files((own / "config.json", weights(own)), own)
    if (chosen := precision(where, settings)) != _usual(where, settings):
        found["vae_precision"] = chosen
    return found


def is_other(where: str, settings: ContestantSettings) -> bool:
    """Whether `parts` has any: else the base's own VAE decodes, as it was loaded with the base,
    also where its usual precision is asked for by name. Raises UsageError as `precision`."""
    return bool(settings.vae) or precision(where, settings) != _usual(where, settings)


def _usual(where: str, settings: ContestantSettings) -> str:
    return "fp32" if _overflows(where, settings) else settings.precision


def folder(where: str, settings: ContestantSettings) -> Path:
    """Where its VAE is, with config.json and weights. Raises UsageError."""
    if not settings.vae:
        return files.base_folder(where, settings) / "vae"
    refs = files.vae_files(settings)
    cached = [HUB.cached(one) for one in refs]
    if None in cached:
        raise NotFetched(f"{where}.vae={settings.vae}: is not fetched yet")
    found = cached[0].parent if cached and cached[0] else files.found(f"{where}.vae", settings.vae)
    if not (found / "config.json").is_file() or not weights(found).is_file():
        valid = f"a folder with config.json and {files.UNET_NAMES[0]}, or hf://owner/name"
        raise UsageError(f"{where}.vae={settings.vae}: no VAE; valid: {valid}")
    files.whole(weights(found))
    _refuse_others(where, settings, found)
    return found


def _refuse_others(where: str, settings: ContestantSettings, own: Path) -> None:
    """Raise UsageError for a VAE of other latents than the base's."""
    base = files.base_folder(where, settings) / "vae" / "config.json"
    for key, usual in LATENTS.items():
        wanted, has = (_json(path).get(key, usual) for path in (base, own / "config.json"))
        if wanted != has:
            what = f"its {key} is {has}, the base's {wanted}"
            raise UsageError(f"{where}.vae={settings.vae}: {what}; valid: one of the same latents")


def weights(folder: Path) -> Path:
    """The file of a VAE's weights, whole ones where there are both."""
    there = [folder / name for name in files.UNET_NAMES[:2]]
    return next((path for path in there if path.is_file()), there[0])


def _overflows(where: str, settings: ContestantSettings) -> bool:
    """Whether half precision is too small for its VAE."""
    index = files.base_folder(where, settings) / "model_index.json"
    config = _json(folder(where, settings) / "config.json")
    return _json(index).get("_class_name") == UPCAST and config.get("force_upcast", True) is True


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: has no settings of a VAE")
    return found


def load(where: str, settings: ContestantSettings) -> Any:
    """A contestant's own VAE, or the base's, in its precision, read anew: diffusers' AutoencoderKL
    on the CPU. Raises UsageError for files of another network."""
    import torch
    from diffusers import AutoencoderKL

    from hypersd import bases

    found, loader = folder(where, settings), cast(Any, AutoencoderKL)
    variant = "fp16" if ".fp16." in weights(found).name else None
    if not settings.vae:  # the base's own, by the files that count as the base's
        variant = bases.variant(found.parent, wanted_variant(settings.precision), found.name)
    try:
        vae = loader.from_pretrained(
            found, variant=variant, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # the loader raises many kinds
        raise UsageError(f"{found}: no VAE that can be loaded ({brief(error, 160)})") from None
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return vae.to(dtype=kinds[precision(where, settings)])
