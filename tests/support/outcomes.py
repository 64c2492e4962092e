"""What a run came to, without what may differ from run to run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bench.results.entries import read_entry


def pixels(cache: Path) -> dict[str, str]:
    """Hash of the images of every slice in a cache."""
    paths = sorted((cache / "images").rglob("*.safetensors"))
    return {p.stem: hashlib.sha256(read_entry(p).arrays["images"].tobytes()).hexdigest()
            for p in paths}  # fmt: skip


def images(cache: Path) -> int:
    """How many a cache holds."""
    paths = (cache / "images").rglob("*.safetensors")
    return sum(len(read_entry(path).arrays["images"]) for path in paths)


def metrics(folder: Path) -> list[Any]:
    """All that a run says of its contestants but for their speed, memory and batches."""
    found = json.loads((folder / "result.json").read_text())
    told = [(c["name"], c["identity"], c["n"], c["metrics"]) for c in found["contestants"]]
    return [*told, found["protocol"], found["comparisons"]]
