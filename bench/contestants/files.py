"""Where a contestant's files are: shipped, on this machine, or in the hub's cache.

It needs no torch and fetches nothing: what is not here yet is `NotFetched`.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from bench.errors import UsageError
from bench.results.hub import HUB
from bench.suite.contestant import ContestantSettings
from hypersd.errors import refused_as
from hypersd.hub_client import NotFetched
from hypersd.lora import reader
from hypersd.lora.strength import ADAPTER, CONFIG_NAME
from hypersd.reference import PICKLES, Reference, reference
from hypersd.safetensors_header import header
from hypersd.trust import refuse_code

WEIGHT_FILES = {
    "lora": reader.WEIGHT_NAME,
    "unet": "diffusion_pytorch_model.safetensors",
}
LORA_FILE = WEIGHT_FILES["lora"]


def weights_path(name: str) -> Path:
    """Where weights lie: `shapes/<name>` are shipped ones, all else is a path.

    Raises UsageError for an unknown shipped name, with the nearest one.
    """
    if not name.startswith("shapes/"):
        return Path(name)
    from hypersd.shapes.weights import weights_path as shipped

    return Path(shipped(name.removeprefix("shapes/")))


def remote(name: str) -> Reference | None:
    """The hub's repository or file that weights are called by; None for all that is here."""
    return None if name.startswith("shapes/") else reference(name)


def references(settings: ContestantSettings) -> list[Reference]:
    """All that a contestant needs of the hub: its base or pipeline, and its weights' file."""
    if settings.source in ("images", "real", "shuffled_captions", "random"):
        return []
    base = remote(settings.base)
    own = remote(settings.weights) if settings.source in WEIGHT_FILES else None
    own = own and in_repository(own, settings.source)
    config = own and _config_of(own) if settings.source == "lora" else None
    return [ref for ref in (base, own, config) if ref is not None]


def _config_of(lora: Reference) -> Reference | None:
    """The configuration that PEFT's file of a LoRA cannot be read without."""
    path = PurePosixPath(lora.path)
    return lora.file(str(path.with_name(CONFIG_NAME))) if path.stem == ADAPTER else None


def in_repository(ref: Reference, source: str) -> Reference:
    """The one file of a LoRA's or a UNet's reference, under its usual name where none is given."""
    return ref.file(ref.path or WEIGHT_FILES[source])


def wanted_variant(precision: str) -> str | None:
    """The variant that is taken from the hub, where a repository has it."""
    return "fp16" if precision == "fp16" else None


def found(where: str, name: str) -> Path:
    """The existing file or folder of weights. Raises UsageError where there is none."""
    path = weights_path(name)
    if not path.exists():
        raise UsageError(f"{where}={name}: no such file or folder")
    return path


def base_folder(where: str, settings: ContestantSettings) -> Path:
    """The pipeline folder a contestant stands on. Raises UsageError where it is none."""
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
    there = remote(settings.weights)
    if there is not None:
        one = in_repository(there, settings.source)
        cached = HUB.cached(one)
        if cached is None:
            raise NotFetched(f"{where}.{settings.source}={settings.weights}: is not fetched yet")
        return cached
    path = found(f"{where}.{settings.source}", settings.weights)
    if settings.source == "lora":
        with refused_as(f"{where}.lora={settings.weights}"):
            return reader.find(path)
    if path.is_file():
        return path
    name = WEIGHT_FILES[settings.source]
    if not (path / name).is_file():
        raise UsageError(f"{where}.{settings.source}={settings.weights}: holds no {name}")
    return path / name


def unet_config(weights: Path) -> Path | None:
    """The config.json of a UNet that lies beside its weights; None where it is the base's."""
    path = weights.parent / "config.json"
    try:
        own = json.loads(path.read_bytes())["_class_name"] == "UNet2DConditionModel"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if own else None


def read_beside(weights: Path) -> list[Path]:
    """What a contestant is loaded from in the folder of its weights, beside these: a UNet's
    config.json, a PEFT adapter's adapter_config.json."""
    found = [unet_config(weights), weights.parent / CONFIG_NAME]
    return [path for path in found if path is not None and path.is_file()]


def whole(path: Path) -> None:
    """Refuse a safetensors file that is cut off or no such file, by its header alone; a pickle is
    only read when it is loaded.

    Raises UsageError.
    """
    if path.suffix not in PICKLES:
        with refused_as(path):
            header(path)


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
