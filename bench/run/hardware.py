"""The hardware of this machine, found without loading torch, and whether a run fits: GPU, memory,
disks."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.contestants import own_pipelines
from bench.run import memory
from bench.suite.contestant import DEFAULT_BASE, ContestantSettings

GB = 1e9
ROOM = 0.92  # of an accelerator's memory that is taken with the metrics' networks all on it
PATIENCE = 120  # seconds; the first import of torch from a slow disk takes long
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of CUDA, ROCm, and CUDA under WSL
ASK = """
import json, torch
found = None
if torch.cuda.is_available():
    one = torch.cuda.get_device_properties(0)
    found = ["cuda", one.name, one.total_memory]
elif torch.backends.mps.is_available():
    found = ["mps", "Apple GPU", None]
print(json.dumps(found))
"""
BATCH = {"cpu": 50, "mps": 50, "cuda": 100}
PIXELS = {"cpu": 2**20, "mps": 2**20, "cuda": 2**23}  # of a batch: one megapixel, or eight


@dataclass(frozen=True)
class Device:
    """The device that networks would run on. kind: "cuda", "mps" or "cpu"; memory: its bytes."""

    kind: str
    name: str
    memory: int


def ask_torch() -> Device | None:
    """The GPU that torch would run on, None where it has none: torch may not see a GPU that the
    driver's tools list (built without CUDA, CUDA_VISIBLE_DEVICES), and may see one that they do not
    list (ROCm).

    In a process of its own, so that a plan need not load torch; not at all where nothing on this
    machine looks like a GPU.
    """
    if not _may_have_one():
        return None
    words = [sys.executable, "-c", ASK]
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=PATIENCE)
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None
    return found and Device(found[0], found[1], found[2] or _memory())


_once_asked = cache(ask_torch)


def _may_have_one() -> bool:
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return shutil.which("nvidia-smi") is not None or any(Path(at).exists() for at in DRIVERS)


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
    """gpu: asks for the GPU, None where there is none.  free: asks for the free bytes at a path."""

    gpu: Callable[[], Device | None] = _once_asked
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
    """Bytes that a run writes below a folder. key: what names another folder on a command line.
    saving: a clause on what takes fewer."""

    folder: Path
    bytes: int
    key: str
    saving: str = ""


@dataclass(frozen=True)
class Fit:
    """How a run fits the machine.

    device: None where it is not known, or not there.  batch: pictures at once.  memory: bytes that
    models, such a batch and the metrics' networks take on the device, None where not known.
    resident: whether these are all on the device, else one at a time.  disk: bytes to write.
    missing: what the machine lacks, a clause each.  notes: what is worth knowing.
    """

    device: Device | None = None
    batch: int = 1
    memory: int | None = None
    resident: bool = True
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
    evaluators: Sequence[int] = (),
    offload: str = "none",
) -> Fit:
    """How contestants on published checkpoints fit.

    chosen: `device=`.  size: of a picture, in pixels.  batch: pictures at once, None for the
    device's default.  evaluators: bytes of each of the metrics' networks.  offload: `offload=`.
    """
    device = machine.device(chosen)
    batch = batch or pictures_at_once(device.kind if device else "cpu", size)
    needed, resident, lacking, notes = _needed(
        device, contestants, evaluators, size, batch, offload
    )
    missing = [*_no_gpu(chosen, device, contestants), *_no_room(machine, disks), *lacking]
    total = _total(disks)
    return Fit(device, batch, needed, resident, total, tuple(missing), tuple(notes))


def pictures_at_once(device: str, size: int) -> int:
    """The default batch. size: height and width in pixels."""
    return max(1, min(BATCH[device], PIXELS[device] // size**2))


def _no_gpu(
    chosen: str, device: Device | None, contestants: Sequence[ContestantSettings]
) -> list[str]:
    """A suite in half precision is one for a GPU, unless a CPU is asked for or its base is the
    world's."""
    half = any(one.precision != "fp32" and one.base != DEFAULT_BASE for one in contestants)
    found = "torch sees none (its build, or CUDA_VISIBLE_DEVICES)"
    if device is None:
        return [f"a GPU: device={chosen} is not on this machine; {found}"]
    if device.kind == "cpu" and chosen == "auto" and half:
        return [f"a GPU: {found}; device=cpu precision=fp32 draws without one"]
    return []


def _no_room(machine: Machine, disks: Sequence[Disk]) -> list[str]:
    """Disks that are too small; equally much room is taken for one disk."""
    room = [machine.free(disk.folder) for disk in disks]
    if len(set(room)) == 1:
        disks = [replace(disks[-1], bytes=_total(disks))]
    return [
        f"disk: {disk.bytes / GB:.0f} GB are needed at {disk.folder}, {free / GB:.0f} GB are free; "
        f"{', '.join(filter(None, (f'{disk.key} names another place', disk.saving)))}, "
        "limit=N is a part"
        for disk, free in zip(disks, room, strict=False)
        if disk.bytes > free
    ]


def _total(disks: Sequence[Disk]) -> int:
    return sum(disk.bytes for disk in disks)


def _needed(
    device: Device | None,
    contestants: Sequence[ContestantSettings],
    evaluators: Sequence[int],
    size: int,
    batch: int,
    offload: str,
) -> tuple[int | None, bool, list[str], list[str]]:
    """Bytes of memory, whether the metrics' networks are all on the device, what does not fit at
    all, and what will be halved."""
    most = memory.need(contestants, evaluators, size, batch, offload)
    if most is None or device is None:
        return None if most is None else most.together, True, [], []
    there = device.memory
    if device.kind == "cpu" or most.together <= ROOM * there:
        needed, resident = most.together, True
    else:
        needed, resident = most.one_at_a_time, False
    if needed <= there:
        return needed, resident, [], []
    least = memory.need(contestants, evaluators, size, 1, offload)
    assert least is not None
    smallest = least.together if resident else least.one_at_a_time
    if smallest <= there:
        said = f"a batch may not fit in {there / GB:.0f} GB; it is halved until it does"
        return needed, resident, [], [said]
    offloaded = offload == "none" and any(map(own_pipelines.is_own, contestants))
    less = "offload=model, " if offloaded else ""
    lacking = (
        f"memory: about {smallest / GB:.1f} GB for one picture, {device.name} has "
        f"{there / GB:.1f} GB; {less}vae_precision=bf16, size=512, or a smaller base"
    )
    return needed, resident, [lacking], []
