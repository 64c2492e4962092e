"""What this machine has, found out without torch: a GPU, memory, room on its disks."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """What networks would run on. kind: "cuda", "mps" or "cpu"; memory: its bytes."""

    kind: str
    name: str
    memory: int


def device(chosen: str) -> Device | None:
    """The device of `device=`; None where a GPU is asked for and there is none.

    chosen: "auto", "cpu", "cuda" or "mps".
    """
    found = None if chosen == "cpu" else _nvidia() or _apple()
    if chosen == "cpu" or (chosen == "auto" and found is None):
        return Device("cpu", platform.machine(), _memory())
    return found if found is not None and chosen in ("auto", found.kind) else None


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


def free(path: Path) -> int:
    """Bytes that are free where `path` lies, or will lie."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
