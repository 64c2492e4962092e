"""What a run on published checkpoints needs before it starts: downloads, disk, memory, a GPU.

Nothing is fetched here. The hub is asked for sizes only where files are not on this machine, and
only once where it does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import hub
from bench.contestants import files, trainings
from bench.errors import UsageError
from bench.hub import HUB
from bench.run import hardware
from bench.run.hardware import Device
from bench.suite.contestant import ContestantSettings
from hypersd.hub import Unreachable, cache_folder, pipeline_files
from hypersd.reference import Reference

UNET_BYTES = 800  # of activations per pixel and network evaluation at fp16; SDXL, rough
VAE_BYTES = 4096  # per decoded pixel: four fp32 maps of 256 channels at full size
GB = 1e9
BATCH = {"cpu": 50, "mps": 50, "cuda": 100}
PIXELS = {"cpu": 2**20, "mps": 2**20, "cuda": 2**23}  # of a batch: one megapixel, or eight


@dataclass(frozen=True)
class Fetch:
    """Files of one reference. size: bytes that are not on this machine yet, None where not known.

    cached: all of it is here.  licence: as the card says, or "unknown".
    """

    reference: Reference
    precision: str
    licence: str
    size: int | None
    cached: bool


@dataclass(frozen=True)
class Needs:
    """What is needed and what of it is missing, a clause each. notes: what is worth knowing.

    memory: bytes that models and a batch of so many pictures take on the device, None where not
    known.  images: bytes of pictures to keep.  networks: bytes that the metrics fetch.
    """

    device: Device | None = None
    fetches: tuple[Fetch, ...] = ()
    memory: int | None = None
    batch: int = 1
    images: int = 0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    networks: int = 0

    @property
    def to_fetch(self) -> list[Fetch]:
        """What is not on this machine."""
        return [one for one in self.fetches if not one.cached]

    @property
    def download(self) -> int:
        """Bytes to download, as far as they are known."""
        return sum(one.size or 0 for one in self.to_fetch)


def of(
    contestants: Sequence[ContestantSettings],
    chosen: str,
    cache: Path,
    images: int,
    size: int,
    batch: int | None,
    untrained: Sequence[ContestantSettings] = (),
    networks: int = 0,
) -> Needs:
    """The needs of contestants.

    chosen: `device=`.  images: bytes of pictures to keep in `cache`.  size: of a picture, in
    pixels.  batch: pictures at once, None for the device's default.  untrained: contestants that
    are to be trained first.  networks: bytes that the metrics fetch.
    """
    device = hardware.device(chosen)
    at_once = batch or pictures_at_once(device.kind if device else "cpu", size)
    found, missing = _fetches(contestants, untrained)
    memory = _memory(contestants, size, at_once)
    needs = Needs(device, tuple(found), memory, at_once, images, networks=networks)
    gone, notes = _tight(needs, contestants, size)
    gone = [*missing, *_no_gpu(chosen, device, contestants), *_no_room(needs, cache), *gone]
    return replace(needs, missing=tuple(gone), notes=tuple(notes))


def pictures_at_once(device: str, size: int) -> int:
    """A batch where nobody says otherwise. size: height and width in pixels."""
    return max(1, min(BATCH[device], PIXELS[device] // size**2))


def _fetches(
    contestants: Sequence[ContestantSettings], untrained: Sequence[ContestantSettings]
) -> tuple[list[Fetch], list[str]]:
    """Every reference of the contestants and their trainings, once, and why some cannot be had."""
    wanted = [(ref, one.precision) for one in contestants for ref in files.references(one)]
    wanted += [each for one in untrained for each in trainings.references(one)]
    found: list[Fetch] = []
    missing: list[str] = []
    unreachable = ""
    for ref, precision in _once(wanted):
        licence = hub.licence(ref)
        size, cached = hub.size(ref, precision), _is_cached(ref, precision)
        if not cached and not unreachable:
            try:
                there = HUB.listing(ref)
                size, licence = _size(ref, precision, there.sizes), licence or there.licence
            except Unreachable as error:
                unreachable = str(error).split(": ", 1)[-1]
            except UsageError as error:
                missing.append(str(error))
        found.append(Fetch(ref, precision, licence or "unknown", size, cached))
    if unreachable:
        missing.append(_unreachable(found, unreachable))
    return found, list(dict.fromkeys(missing))


def _once(wanted: Sequence[tuple[Reference, str]]) -> list[tuple[Reference, str]]:
    """Each set of files once: precision chooses those of a pipeline, and of nothing else."""
    kinds = {(ref, "" if ref.path else str(files.wanted_variant(p))): (ref, p) for ref, p in wanted}
    return list(kinds.values())


def _is_cached(ref: Reference, precision: str) -> bool:
    if ref.path:
        return HUB.cached(ref) is not None
    return HUB.cached_pipeline(ref, files.wanted_variant(precision)) is not None


def _size(ref: Reference, precision: str, sizes: dict[str, int]) -> int:
    """Bytes of a reference by the hub's own word. Raises UsageError where it has no such file."""
    variant = files.wanted_variant(precision)
    names = [ref.path] if ref.path else pipeline_files(sizes, variant)
    if not set(names) <= set(sizes) or (not ref.path and "model_index.json" not in names):
        raise UsageError(f"{ref}: the repository has no {ref.path or 'model_index.json'}")
    return sum(sizes[name] for name in names)


def _unreachable(found: list[Fetch], why: str) -> str:
    gone = [one for one in found if not one.cached]
    total = sum(one.size or 0 for one in gone) / GB
    return (
        f"{len(gone)} downloads of about {total:.1f} GB: {why}. Fetch them where there is a "
        "network (the same command, or `hf download`) and bring $HF_HOME here, or name local "
        "files: base=DIR contestants.NAME.lora=FILE"
    )


def _no_gpu(
    chosen: str, device: Device | None, contestants: Sequence[ContestantSettings]
) -> list[str]:
    """A suite in half precision is one for a GPU, unless a CPU is asked for."""
    half = any(one.precision != "fp32" for one in contestants)
    if device is None:
        return [f"a GPU: device={chosen} is not on this machine"]
    if device.kind == "cpu" and chosen == "auto" and half:
        return ["a GPU: none is found on this machine; device=cpu precision=fp32 draws without one"]
    return []


def _no_room(needs: Needs, cache: Path) -> list[str]:
    """Disks that are too small, those of downloads and pictures added where they are one."""
    wanted = {cache_folder(): needs.download + needs.networks, cache: needs.images}
    room = {path: hardware.free(path) for path in wanted}
    if room[cache] == room[cache_folder()]:  # one file system
        wanted = {cache: sum(wanted.values())}
    return [
        f"disk: {bytes_ / GB:.0f} GB are needed at {path}, {room[path] / GB:.0f} GB are free; "
        f"{'cache=DIR' if path == cache else 'HF_HOME'} names another place, limit=N is a part"
        for path, bytes_ in wanted.items()
        if bytes_ > room[path]
    ]


def _memory(contestants: Sequence[ContestantSettings], size: int, batch: int) -> int | None:
    """Bytes of the largest base with one UNet, and of a batch's activations."""
    weights = [_weights(one) for one in contestants if one.steps]
    known = [bytes_ for bytes_ in weights if bytes_ is not None]
    if not known:
        return None
    return max(known) + activations(contestants, size, batch)


def activations(contestants: Sequence[ContestantSettings], size: int, batch: int) -> int:
    """Bytes that a batch takes besides weights: denoising, or decoding one picture at a time."""
    evaluations = max(one.sampling.evaluations_per_step for one in contestants)
    wide = 2 if any(one.precision == "fp32" for one in contestants) else 1
    return size**2 * max(VAE_BYTES, UNET_BYTES * wide * evaluations * batch)


def _weights(settings: ContestantSettings) -> int | None:
    """Bytes of the networks of a base at its precision."""
    there = files.remote(settings.base)
    if there is not None:
        return hub.size(there, settings.precision)
    held = list(files.weights_path(settings.base).glob("*/*.safetensors"))
    return sum(path.stat().st_size for path in held) or None


def _tight(
    needs: Needs, contestants: Sequence[ContestantSettings], size: int
) -> tuple[list[str], list[str]]:
    """What does not fit at all, and what will be halved."""
    if needs.memory is None or needs.device is None or needs.memory <= needs.device.memory:
        return [], []
    there = needs.device.memory / GB
    batch = activations(contestants, size, 1)
    smallest = max(_weights(one) or 0 for one in contestants) + batch
    if smallest > needs.device.memory:
        return [
            f"memory: about {smallest / GB:.0f} GB for one picture, {needs.device.name} has "
            f"{there:.0f} GB; size=512, or a smaller base"
        ], []
    return [], [f"a batch may not fit in {there:.0f} GB; it is halved until it does"]
