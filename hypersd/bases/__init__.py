"""The kinds of base models: how each is loaded, given prompts and decoded, in trainings and in the
benchmark. A new kind is a file here and an entry in `FAMILIES`."""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from hypersd.bases.family import Family
from hypersd.bases.sd3 import Sd3
from hypersd.bases.sd15 import Sd15
from hypersd.bases.sdxl import Sdxl
from hypersd.bases.unet import UnetFamily
from hypersd.errors import UsageError, brief
from hypersd.hub import LEFT_OUT
from hypersd.model_folder import culprit
from hypersd.quiet import heard
from hypersd.trust import refuse_code

__all__ = ["FAMILIES", "UNETS", "Family", "kind", "load", "load_any", "of", "variant"]

UNETS: dict[str, type[UnetFamily]] = {one.name: one for one in (Sd15, Sdxl)}
FAMILIES: dict[str, type[Family]] = {**UNETS, Sd3.name: Sd3}
Dtypes = torch.dtype | dict[str, torch.dtype]
RANDOM = "newly initialized"  # what diffusers and transformers say of weights that no file has
_BY_PIPELINE: dict[str, type[Family]] = {
    **{one.pipeline: one for one in FAMILIES.values()},
    "LatentConsistencyModelPipeline": Sd15,  # its UNet takes the guidance as an input
}


def of(pipe: Any, size: int | None = None) -> Family:
    """A loaded pipeline as one of its kind. size: height and width in pixels of what it draws."""
    return _BY_PIPELINE[type(pipe).__name__](pipe, size)


def kind(folder: Path, part: str | None = None) -> type[Family]:
    """The kind of a pipeline's folder, by its model_index.json.  part: only kinds whose network is
    called so.

    Raises UsageError where that is damaged, or names another class.
    """
    try:
        name = str(_index(folder)["_class_name"])
    except KeyError:
        raise UsageError(f"{folder}: its model_index.json is damaged") from None
    valid = {one: family for one, family in _BY_PIPELINE.items() if part in (None, family.part)}
    if name not in valid:
        raise UsageError(f"{folder}: is a {name}; valid: {', '.join(valid)}")
    return valid[name]


def _index(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "model_index.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        raise UsageError(f"{folder}: its model_index.json is damaged") from None


def variant(folder: Path, wanted: str | None, part: str = "unet") -> str | None:
    """Which files a folder is loaded from: "fp16" where its half precision ones are wanted and
    there, or where it has no others; otherwise None."""
    names = [path.name for path in (folder / part).glob("*.safetensors")]
    half = [name for name in names if ".fp16" in name]
    return "fp16" if half and (wanted or len(half) == len(names)) else None


def load(folder: Path, dtype: Dtypes, wanted: str | None, part: str | None = None) -> Any:
    """diffusers' pipeline of a folder, on the CPU, with nothing that would change its pictures.

    dtype: of all parts, or by part ("default" for the others).  wanted: as for `variant`.
    Raises UsageError where it is damaged, of no known kind, or would run code of its own.
    """
    refuse_code(folder)
    family = kind(folder, part)
    chosen = variant(folder, wanted, family.part)
    pipe, words = _read(folder, family.pipeline, dtype, chosen, family.loaded_with)
    family.check(folder, pipe)
    _say(folder, words)
    return pipe


def load_any(folder: Path, dtype: Dtypes, wanted: str | None) -> Any:
    """The same for any class of diffusers that model_index.json names, for its own call."""
    refuse_code(folder)
    index = _index(folder)
    parts = [name for name, entry in index.items() if isinstance(entry, list) and entry[1]]
    chosen = [variant(folder, wanted, part) for part in parts]
    name = str(index["_class_name"])
    left_out = {part: None for part in LEFT_OUT if part in index} | _unmarked(name)
    pipe, words = _read(folder, name, dtype, next(filter(None, chosen), None), left_out)
    _say(folder, words)
    return pipe


def _unmarked(name: str) -> dict[str, Any]:
    """What keeps a pipeline's class from writing a watermark into pictures: SDXL's does wherever
    the package invisible_watermark happens to be installed."""
    import diffusers

    takes = inspect.signature(getattr(diffusers, name).__init__).parameters
    return {"add_watermarker": False} if "add_watermarker" in takes else {}


def _read(
    folder: Path, name: str, dtype: Dtypes, chosen: str | None, left_out: dict[str, Any]
) -> tuple[Any, list[str]]:
    """A pipeline of diffusers' class `name`, and what libraries warned of."""
    import diffusers

    loader: Any = getattr(diffusers, name)
    absent = {name: None for name, entry in _index(folder).items() if entry == [None, None]}
    words: list[str] = []
    try:
        with heard() as words:
            pipe = loader.from_pretrained(
                folder, dtype=dtype, variant=chosen, use_safetensors=True, local_files_only=True,
                **absent | left_out,
            )  # fmt: skip
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the loaders of six parts raise many kinds
        said = "; ".join([brief(error, 160), *(word[:300] for word in words[-1:])])
        raise UsageError(f"{folder}: {culprit(folder) or f'cannot be loaded ({said})'}") from None
    _check_vocabularies(folder, pipe)
    return pipe, words


def _say(folder: Path, words: list[str]) -> None:
    """Pass warnings on; refuse weights that were made up. Raises UsageError."""
    for line in words:
        if RANDOM in line:
            raise UsageError(f"{folder}: lacks weights ({line[:300]})")
        warnings.warn(line, stacklevel=3)


def _check_vocabularies(folder: Path, pipe: Any) -> None:
    """Refuse a tokenizer whose files are missing: transformers then makes one without a vocabulary,
    and all prompts get the same tokens."""
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer, encoder = (pipe.components.get(n) for n in (name, f"text_encoder{name[9:]}"))
        if encoder is None or not hasattr(tokenizer, "__len__"):  # none, or one inside a processor
            continue
        known = encoder.config.get_text_config().vocab_size
        if 2 * len(tokenizer) < known:  # some models' are a few apart
            raise UsageError(
                f"{folder}: its {name} knows {len(tokenizer):,} tokens, its text encoder "
                f"{known:,}; valid: with tokenizer.json, or vocab.json and merges.txt, whole"
            )
