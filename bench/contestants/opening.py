"""Opens a contestant's files without the values of weights: do they fit its base?"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.contestants import files, own_pipelines, own_resident, own_sampler
from bench.errors import UsageError
from bench.suite.contestant import ANCHORS, ContestantSettings
from hypersd import bases, tensor_files, unet_files
from hypersd.errors import FileError
from hypersd.hashes import states
from hypersd.lora import beside, merging, reader
from hypersd.lora.forms import UNET


def check(settings: ContestantSettings, weights: Path | None = None) -> None:
    """Refuse weights that do not fit their base, by the names and shapes of their tensors.

    weights: those that a recipe gave.  Raises UsageError, as loading them would.
    """
    if settings.source in (*ANCHORS, "images", "random"):
        return
    where = f"contestants.{settings.key}"
    folder = files.base_folder(where, settings)
    if own_pipelines.is_own(settings):
        _check_own(where, settings, folder, weights)
        return
    bases.kind(folder, UNET)
    if settings.source in files.WEIGHT_FILES:
        weights = files.weight_file(where, settings)
    for path in files.stacked_files(where, settings):
        with _refused(where, path):
            _check_lora(settings, folder, path)
    if weights is None:
        return
    with _refused(where, weights):
        if settings.source == "lora" or weights.name == files.LORA_FILE:
            _check_lora(settings, folder, weights)
        else:
            config = files.unet_config(settings, weights) or folder / "unet/config.json"
            held = tensor_files.outline(weights)[0]
            unet_files.fits(_unet(config, states(config.parent)), held, config)


def _check_own(
    where: str, settings: ContestantSettings, folder: Path, weights: Path | None
) -> None:
    """Refuse what a base that draws by its own call cannot be drawn with, as far as its networks
    need not be loaded for that. Raises UsageError."""
    import diffusers

    own_pipelines.check(where, settings)
    own_sampler.check_scheduler(folder, settings)
    if settings.source == "lora":
        weights = files.weight_file(where, settings)
    kind = getattr(diffusers, str(own_pipelines.class_name(settings)))
    for path in (*([weights] if weights else []), *files.stacked_files(where, settings)):
        with _refused(where, path):
            own_resident.check_lora(kind, path)


@contextlib.contextmanager
def _refused(where: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (FileError, OSError) as error:
        raise UsageError(f"{where}: {path}: cannot be loaded ({error})") from None


def _check_lora(settings: ContestantSettings, folder: Path, path: Path) -> None:
    """Raise FileError for a LoRA that does not fit a base, or that cannot be beside it."""
    layers = reader.outline(path)
    merging.targets(layers, dict(_modules(folder, {one.network for one in layers})))
    if settings.storage:
        beside.refuse_dora(layers)


def _modules(folder: Path, names: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The modules of a base's networks, without memory, of those of the names that it has."""
    index = json.loads((folder / "model_index.json").read_bytes())
    for name in names:
        if name == UNET:
            unet = _unet(folder / "unet/config.json", states(folder / "unet"))
            yield name, merging.plain(unet)
        elif isinstance(index.get(name), list) and index[name][1]:
            yield name, merging.plain(_text_encoder(folder / name, index[name][1]))


@lru_cache(maxsize=4)
def _unet(config: Path, files_as_they_are: tuple[str, ...]) -> Any:
    del files_as_they_are
    return unet_files.empty(config)


def _text_encoder(folder: Path, kind: str) -> Any:
    import transformers
    from accelerate import init_empty_weights

    found: Any = getattr(transformers, kind)
    with init_empty_weights():
        return found(found.config_class.from_pretrained(folder))
