"""The environment of a run: hardware, versions, commit, and its peak of memory."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.results.command import this_command
from hypersd.package_data import checkout

PACKAGES = ("few-step-bench", "torch", "diffusers", "transformers", "peft", "open_clip_torch",
            "numpy", "scipy")  # fmt: skip


def describe(device: torch.device, batch: int | str) -> dict[str, Any]:
    """The environment entry of a result."""
    from hypersd.loop import hardware

    return {
        "command": this_command(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": _device_words(device),
        "batch": batch,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _device_words(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of this checkout, "+changes" where files differ; "" outside of one."""
    folder = checkout("bench")
    if folder is None or not (folder / ".git").exists():
        return ""
    words = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*",
             "--dirty=+changes"]  # fmt: skip
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def reset_peak(device: torch.device) -> None:
    """Reset the peak of memory, if the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_bytes(device: torch.device) -> int | None:
    """The most memory in use since `reset_peak`: of the GPU, or resident in this process.

    It counts all that was loaded, the metrics' networks included. None where unknown.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None
