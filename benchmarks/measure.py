"""Shared by all benchmarks: median seconds, one table, one JSON file with the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "diffusers", "transformers", "torchmetrics", "clean-fid",
            "torch_fidelity", "pytorch-fid", "peft", "accelerate", "datasets",
            "webdataset")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One comparison, in seconds of wall time; smaller is better.

    note: what differs in the results, and by how much.
    """

    what: str
    ours: float
    peer: str
    theirs: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def seconds(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """(median wall time of some calls, what the last one returned)."""
    times, found = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - began)
    return statistics.median(times), found


def publish(name: str, rows: Sequence[Row], path: Path | None = None) -> None:
    """Print a Markdown table; write `path` (default runs/benchmarks/<name>.json) beside it."""
    print("| | ours, s | peer | peer, s | ratio | |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.ours:.3g} | {row.peer} | {row.theirs:.3g} | "
              f"{row.ratio:.1f} | {row.note} |")  # fmt: skip
    path = path or Path("runs/benchmarks") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "name": name,
        "machine": machine(),
        "rows": [asdict(r) | {"ratio": r.ratio} for r in rows],
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{machine()['words']}\n{path}")


def machine() -> dict[str, Any]:
    """Processor, cores, versions, commit."""
    from hypersd.card import cpu

    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = f"{cpu()}, {cores} cores, Python {platform.python_version()}, {commit}"
    return {"words": words, "versions": versions, "commit": commit}
