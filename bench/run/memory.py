"""Estimates the device memory of a run before anything is loaded.

Counts of parameters are those of the published models. What a network needs beside its weights was
counted as the tensors alive at once in its class at full shape, on torch's "meta" device, which
holds none of them; a third more is for the workspaces of convolutions, which hold one map again.

    SDXL UNet   158 bytes a pixel and evaluation at 16 bits a number    SD1.5 UNet   260
    VAE decoder 1536 bytes a pixel, three maps of 256 channels; one megapixel at a time

SDXL in fp32 on a CPU, one picture of 1024 px: 18.9 GB by this, 18.9 GB measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import files, own_pipelines, vaes
from bench.errors import UsageError
from bench.results import hub
from bench.results.hub import HUB
from bench.suite.contestant import ContestantSettings
from hypersd.errors import FileError
from hypersd.hub import parts_of, pipeline_files, wanted_variant
from hypersd.safetensors_header import header

Parts = dict[str, int]  # parameters of a base by part
PARAMETERS: dict[str, Parts] = {
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text": 817_720_320},
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480},
}
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}  # of a number
UNET = {"sdxl": 79, "sd15": 130}  # numbers alive per pixel and evaluation
VAE = 768  # numbers alive per decoded pixel
DECODED = 2**20  # pixels that the VAE decodes at once, at least one picture
WORKSPACE = 4 / 3
PIXEL, PICTURE = 48, 50_000_000  # bytes of a picture in an evaluator: before it is small, and then
RUNTIME = 700_000_000  # what torch and its libraries take, of a device or a process


@dataclass(frozen=True)
class Need:
    """Bytes at a run's peak. weights: of the largest contestant's networks.  drawing: beside them,
    for a batch.  scoring: beside an evaluator.  evaluators: of each metric's network."""

    weights: int
    drawing: int
    scoring: int
    evaluators: tuple[int, ...] = ()

    @property
    def together(self) -> int:
        """With all of the metrics' networks on the device."""
        return self.weights + sum(self.evaluators) + max(self.drawing, self.scoring) + RUNTIME

    @property
    def one_at_a_time(self) -> int:
        """With one of them while it scores, and none while a contestant draws."""
        largest = max(self.evaluators, default=0)
        return self.weights + max(self.drawing, largest + self.scoring) + RUNTIME


def need(
    contestants: Sequence[ContestantSettings],
    evaluators: Sequence[int],
    size: int,
    batch: int,
    offload: str = "none",
) -> Need | None:
    """The memory of the contestants that draw, each at its own size; None if no base is known.

    size: of the others, in pixels.  offload: of bases that draw by their own call.  There is one
    UNet at a time: a LoRA is merged into the base's, whose own weights are read from its files
    again (`bench.contestants.resident`).
    """
    drawn = [one for one in contestants if one.steps]
    held = {one.key: found for one in drawn if (found := parameters(one)) is not None}
    if not held:
        return None
    known = [one for one in drawn if one.key in held]
    return Need(
        max(weights(one, held[one.key], offload) for one in known),
        max(drawing(one, one.size or size, batch) for one in known),
        batch * (PIXEL * size**2 + PICTURE) if evaluators else 0,
        tuple(evaluators),
    )


def parameters(settings: ContestantSettings) -> Parts | None:
    """Parameters of a base by the sizes of its files, or as published before they are fetched; None
    if unknown."""
    there = files.remote(settings.base)
    own = own_pipelines.is_own(settings)
    if there is None:
        folder = files.weights_path(settings.base)
        return _of_headers(folder, settings.precision) if own else _of_files(folder)
    here = HUB.cached_pipeline(there, wanted_variant(settings.precision))
    if here is not None:
        return _of_headers(here, settings.precision) if own else _of_files(here)
    size = hub.size(there, settings.precision)
    if own and size is not None:  # as published: fp32, or two bytes a number
        return {"unet": size // BYTES[settings.precision]}
    return PARAMETERS.get(hub.family(there.repo) or "")


def _of_headers(folder: Path, precision: str) -> Parts | None:
    """Of any pipeline, by the headers of the files that are loaded; whatever is no text encoder and
    no VAE counts as the network."""
    found: Parts = {}
    try:
        names = [str(path.relative_to(folder)) for path in folder.glob("*/*")]
        for name in pipeline_files(names, wanted_variant(precision), parts_of(folder)):
            if name.endswith(".safetensors"):
                part = name.partition("/")[0].partition("_encoder")[0]
                part = part if part in ("vae", "text") else "unet"
                found[part] = found.get(part, 0) + header(folder / name).numbers
    except (OSError, ValueError, FileError):
        return None  # said where they are opened
    return found or None


def _of_files(folder: Path) -> Parts | None:
    found: Parts = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        part = path.parent.name.partition("_encoder")[0]
        if part in ("unet", "vae", "text"):
            half = ".fp16." in path.name
            plain = path.with_name(path.name.replace(".fp16.", ".")).is_file() and half
            size = 0 if plain else path.stat().st_size // (2 if half else 4)
            found[part] = found.get(part, 0) + size
    return found or None


def weights(settings: ContestantSettings, held: Parts, offload: str = "none") -> int:
    """Bytes of a contestant's networks: all of them, or the largest part where others are off the
    device."""
    vae = held.get("vae", 0) * BYTES[vae_precision(settings)]
    number = BYTES[settings.precision]
    unet = held.get("unet", 0) * (1 if settings.storage else number)
    others = [held.get("text", 0) * number, unet]
    if offload == "none" or not own_pipelines.is_own(settings):
        return sum(others) + vae
    return max(*others, vae) if offload == "model" else vae


def drawing(settings: ContestantSettings, size: int, batch: int) -> int:
    """Bytes beside the weights: denoising a batch, or decoding what is decoded at once."""
    own = own_pipelines.is_own(settings)
    per_step = settings.sampling.evaluations_per_step
    per_step = own_pipelines.calls_per_step(settings) if own else per_step
    evaluations = per_step * batch
    numbers = UNET.get(_family(settings) or "", max(UNET.values()))
    denoising = evaluations * size**2 * numbers * BYTES[settings.precision]
    decoded = min(batch * size**2, max(DECODED, size**2))
    decoding = decoded * VAE * BYTES[vae_precision(settings)]
    return round(max(denoising, decoding) * WORKSPACE)


def vae_precision(settings: ContestantSettings) -> str:
    """The VAE's precision in the run; before its files are fetched, that of the published model."""
    try:
        if own_pipelines.is_own(settings):
            return settings.vae_precision or settings.precision
        return vaes.precision(f"contestants.{settings.key}", settings)
    except UsageError:
        overflows = _family(settings) == "sdxl" and not settings.vae
        return settings.vae_precision or ("fp32" if overflows else settings.precision)


def _family(settings: ContestantSettings) -> str | None:
    there = files.remote(settings.base)
    return hub.family(there.repo) if there is not None else None
