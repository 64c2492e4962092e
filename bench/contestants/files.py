"""Finds a contestant's files: shipped, on this machine, or in the hub's cache.

It needs no torch and fetches nothing: a file that is missing raises `NotFetched`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bench.errors import UsageError
from bench.results.hub import HUB
from bench.suite.contestant import ContestantSettings
from hypersd import exports, tensor_files
from hypersd.errors import refused_as
from hypersd.hub import wanted_variant
from hypersd.hub_client import NotFetched
from hypersd.lora import reader
from hypersd.lora.strength import ADAPTER, CONFIG_NAME
from hypersd.reference import PICKLES, Reference, reference
from hypersd.safetensors_header import header
from hypersd.trust import refuse_code

UNET = "diffusion_pytorch_model"
UNET_NAMES = (f"{UNET}.safetensors", f"{UNET}.fp16.safetensors", f"{UNET}.bin")
"""What a UNet is called in a folder of diffusers, the best one first."""
SHARD = re.compile(r"-\d{5}-of-\d{5}\.|\.index\.(\w+\.)?json$")
WEIGHT_FILES = {"lora": reader.WEIGHT_NAME, "unet": UNET_NAMES[0]}
LORA_FILE = WEIGHT_FILES["lora"]


def weights_path(name: str) -> Path:
    """The path of weights: `shapes/<name>` are shipped ones, anything else is a path.

    Raises UsageError for an unknown shipped name, with the nearest one.
    """
    if not name.startswith("shapes/"):
        return Path(name)
    from hypersd.shapes.weights import weights_path as shipped

    return Path(shipped(name.removeprefix("shapes/")))


def remote(name: str) -> Reference | None:
    """The hub reference of weights; None for weights on this machine."""
    return None if name.startswith("shapes/") else reference(name)


def references(settings: ContestantSettings) -> list[Reference]:
    """The hub references of a contestant: its base or pipeline, and its weights' file."""
    if settings.source in ("images", "real", "shuffled_captions", "random"):
        return []
    base = remote(settings.base)
    own = remote(settings.weights) if settings.source in WEIGHT_FILES else None
    own = own and in_repository(own, settings.source)
    config = own and _config_of(own, settings.source)
    known = [ref for ref in (base, own, config) if ref is not None]
    return [*known, *_stacked_references(settings), *vae_files(settings)]


def _stacked_references(settings: ContestantSettings) -> Iterator[Reference]:
    """The hub's files of the LoRAs on top of a contestant."""
    for one in settings.stack:
        there = remote(one.lora)
        if there is not None:
            own = in_repository(there, "lora")
            config = _config_of(own, "lora")
            yield from (own,) if config is None else (own, config)


def vae_files(settings: ContestantSettings) -> list[Reference]:
    """The files of a VAE of its own on the hub."""
    there = remote(settings.vae) if settings.vae else None
    return [there.file(name) for name in ("config.json", UNET_NAMES[0])] if there else []


def _config_of(own: Reference, source: str) -> Reference | None:
    """The configuration beside a file that has the name diffusers or PEFT gives it; None for other
    names."""
    path = PurePosixPath(own.path)
    if source == "lora":
        return own.file(str(path.with_name(CONFIG_NAME))) if path.stem == ADAPTER else None
    usual = path.name.startswith(f"{UNET}.")
    return own.file(str(path.with_name("config.json"))) if usual else None


def in_repository(ref: Reference, source: str) -> Reference:
    """The one file of a LoRA's or a UNet's reference, under its usual name where none is given."""
    return ref.file(ref.path or WEIGHT_FILES[source])


def found(where: str, name: str) -> Path:
    """The existing file or folder of weights. Raises UsageError where there is none."""
    path = weights_path(name)
    if not path.exists():
        raise UsageError(f"{where}={name}: no such file or folder")
    return path


def base_folder(where: str, settings: ContestantSettings) -> Path:
    """The pipeline folder of a contestant's base. Raises UsageError for any other folder."""
    word = "pipeline" if settings.source == "pipeline" else "base"
    there = remote(settings.base)
    if there is not None:
        which = wanted_variant(settings.precision)
        snapshot = HUB.cached_pipeline(there, which)
        if snapshot is None:
            raise NotFetched(f"{where}.{word}={settings.base}: is not fetched yet")
        refuse_code(snapshot)
        return snapshot
    folder = found(f"{where}.{word}", settings.base)
    if not (folder / "model_index.json").is_file():
        raise UsageError(f"{where}.{word}={settings.base}: no pipeline folder (model_index.json)")
    refuse_code(folder)
    return folder


def weight_file(where: str, settings: ContestantSettings) -> Path:
    """The one file of a LoRA's or a UNet's weights. Raises UsageError where there is none."""
    return _weight_file(where, settings.source, settings.weights)


def stacked_files(where: str, settings: ContestantSettings) -> list[Path]:
    """The file of each LoRA on top of a contestant. Raises UsageError where there is none."""
    return [
        _weight_file(f"{where}.stack[{place}]", "lora", one.lora)
        for place, one in enumerate(settings.stack)
    ]


def _weight_file(where: str, source: str, name: str) -> Path:
    there = remote(name)
    if there is not None:
        one = in_repository(there, source)
        cached = HUB.cached(one)
        if cached is None:
            raise NotFetched(f"{where}.{source}={name}: is not fetched yet")
        return cached
    path = found(f"{where}.{source}", name)
    if said := exports.instead_of_training(path):
        raise UsageError(f"{where}.{source}={name}: {said}")
    if source == "lora":
        with refused_as(f"{where}.lora={name}"):
            return reader.find(path)
    names = [path.name] if path.is_file() else [one.name for one in path.iterdir()]
    folder = path.parent if path.is_file() else path
    own = next((usual for usual in UNET_NAMES if usual in names), None)
    chosen = path.name if path.is_file() else own
    shards = [one for one in names if SHARD.search(one)]
    if shards and own is None:
        raise UsageError(f"{where}.unet={name}: {min(shards)} is a part of a UNet in "
                         "shards, which is not read; valid: one file")  # fmt: skip
    if chosen is None:
        raise UsageError(f"{where}.unet={name}: holds no {UNET_NAMES[0]}")
    return folder / chosen


def unet_config(settings: ContestantSettings, weights: Path) -> Path | None:
    """The config.json beside the weights of a UNet; None where it is the base's.

    Of the hub's files only the one fetched for it counts; other cached files are ignored.
    """
    there = remote(settings.weights) if settings.source == "unet" else None
    if there is not None and _config_of(in_repository(there, "unet"), "unet") is None:
        return None
    path = weights.parent / "config.json"
    return path if path.is_file() and settings.source != "lora" else None


def read_beside(settings: ContestantSettings, weights: Path) -> list[Path]:
    """The files beside a contestant's weights that are loaded too: a UNet's config.json, a PEFT
    adapter's adapter_config.json."""
    config = unet_config(settings, weights)
    return [*([config] if config else []), *beside_lora(weights)]


def beside_lora(weights: Path) -> list[Path]:
    """A PEFT adapter's adapter_config.json."""
    path = weights.parent / CONFIG_NAME
    return [path] if path.is_file() else []


def whole(path: Path) -> None:
    """Refuse a file of weights that `tensor_files.check` does. Raises UsageError."""
    with refused_as(path):
        tensor_files.check(path)


def of_source(path: Path, source: str) -> None:
    """Refuse, by the header alone, a LoRA's file that holds none or one in a form that is not
    merged, and a UNet's that holds a LoRA.

    Raises UsageError.
    """
    if source == "lora":
        with refused_as(path):
            reader.check(path)
    elif path.suffix not in PICKLES and any("lora" in key for key in header(path).keys):
        raise UsageError(f"{path}: holds a LoRA; valid: it as lora=, or the weights of a UNet")
