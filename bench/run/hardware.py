"""What this machine has, found out without torch, and whether a run fits: GPU, memory, disks."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contestants import files
from bench.results import hub
from bench.suite.contestant import ContestantSettings

UNET_BYTES = 800  # of activations per pixel and network evaluation at fp16; SDXL, rough
VAE_BYTES = 4096  # per decoded pixel: four fp32 maps of 256 channels at full size
GB = 1e9
BATCH = {"cpu": 50, "mps": 50, "cuda": 100}
PIXELS = {"cpu": 2**20, "mps": 2**20, "cuda": 2**23}  # of a batch: one megapixel, or eight


@dataclass(frozen=True)
class Device:
    """What networks would run on. kind: "cuda", "mps" or "cpu"; memory: its bytes."""

    kind: str
    name: str
    memory: int


def _gpu() -> Device | None:
    return _nvidia() or _apple()


def _nvidia() -> Device | None:
    words = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=10)
        name, mebibytes = done.stdout.splitlines()[0].rsplit(",", 1)
        return Device("cuda", name.strip(), int(mebibytes) * 2**20)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def _apple() -> Device | None:
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return Device("mps", "Apple GPU", _memory()) if is_apple else None


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _free(path: Path) -> int:
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


@dataclass(frozen=True)
class Machine:
    """gpu: asks for the GPU, None where there is none.  free: asks for the bytes that are free
    where a path lies, or will lie."""

    gpu: Callable[[], Device | None] = _gpu
    free: Callable[[Path], int] = _free

    def device(self, chosen: str) -> Device | None:
        """The device of `device=`; None where a GPU is asked for and there is none.

        chosen: "auto", "cpu", "cuda" or "mps".
        """
        found = None if chosen == "cpu" else self.gpu()
        if chosen == "cpu" or (chosen == "auto" and found is None):
            return Device("cpu", platform.machine(), _memory())
        return found if found is not None and chosen in ("auto", found.kind) else None


HERE = Machine()


@dataclass(frozen=True)
class Disk:
    """Bytes that a run writes below a folder. key: what names another folder on a command line."""

    folder: Path
    bytes: int
    key: str


@dataclass(frozen=True)
class Fit:
    """How a run fits the machine.

    device: None where it is not known, or not there.  batch: pictures at once.  memory: bytes that
    models and such a batch take on the device, None where not known.  disk: bytes to write.
    missing: what the machine lacks, a clause each.  notes: what is worth knowing.
    """

    device: Device | None = None
    batch: int = 1
    memory: int | None = None
    disk: int = 0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fit(
    machine: Machine,
    contestants: Sequence[ContestantSettings],
    chosen: str,
    size: int,
    batch: int | None,
    disks: Sequence[Disk],
) -> Fit:
    """How contestants on published checkpoints fit.

    chosen: `device=`.  size: of a picture, in pixels.  batch: pictures at once, None for the
    device's default.
    """
    device = machine.device(chosen)
    batch = batch or pictures_at_once(device.kind if device else "cpu", size)
    found = Fit(device, batch, _needed(contestants, size, batch), _total(disks))
    lacking, notes = _tight(found, contestants, size)
    missing = [*_no_gpu(chosen, device, contestants), *_no_room(machine, disks), *lacking]
    return replace(found, missing=tuple(missing), notes=tuple(notes))


def pictures_at_once(device: str, size: int) -> int:
    """The default batch. size: height and width in pixels."""
    return max(1, min(BATCH[device], PIXELS[device] // size**2))


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


def _no_room(machine: Machine, disks: Sequence[Disk]) -> list[str]:
    """Disks that are too small; equally much room is taken for one disk."""
    room = [machine.free(disk.folder) for disk in disks]
    if len(set(room)) == 1:
        disks = [replace(disks[-1], bytes=_total(disks))]
    return [
        f"disk: {disk.bytes / GB:.0f} GB are needed at {disk.folder}, {free / GB:.0f} GB are free; "
        f"{disk.key} names another place, limit=N is a part"
        for disk, free in zip(disks, room, strict=False)
        if disk.bytes > free
    ]


def _total(disks: Sequence[Disk]) -> int:
    return sum(disk.bytes for disk in disks)


def _needed(contestants: Sequence[ContestantSettings], size: int, batch: int) -> int | None:
    """Bytes of the largest base with one UNet, and of a batch's activations."""
    weights = [_weights(one) for one in contestants if one.steps]
    known = [bytes_ for bytes_ in weights if bytes_ is not None]
    return max(known) + activations(contestants, size, batch) if known else None


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
    found: Fit, contestants: Sequence[ContestantSettings], size: int
) -> tuple[list[str], list[str]]:
    """What does not fit in memory at all, and what will be halved."""
    device = found.device
    if found.memory is None or device is None or found.memory <= device.memory:
        return [], []
    there = device.memory / GB
    smallest = max(_weights(one) or 0 for one in contestants) + activations(contestants, size, 1)
    if smallest > device.memory:
        return [
            f"memory: about {smallest / GB:.0f} GB for one picture, {device.name} has "
            f"{there:.0f} GB; size=512, or a smaller base"
        ], []
    return [], [f"a batch may not fit in {there:.0f} GB; it is halved until it does"]
