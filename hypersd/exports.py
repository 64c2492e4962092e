"""Checksums of exported weights: are the files still those that the training wrote? Needs no torch,
so a plan can ask."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FACTS, CARD = "training.json", "README.md"
LOG, FINAL = "train.jsonl", "final"  # of a training's own folder


def weights_of_training(folder: Path) -> list[Path]:
    """The exports in a training's folder, the last one first; empty for any other folder, and
    while the training has made none."""
    if not is_training(folder):
        return []
    found = [path.parent for path in folder.glob(f"*/{CARD}")]
    return sorted(found, key=lambda path: (path.name != FINAL, path.name))


def is_training(folder: Path) -> bool:
    """Whether a training was made in this folder, or is being made."""
    return (folder / LOG).is_file()


def instead_of_training(folder: Path) -> str | None:
    """A clause for who names the folder of a training where its weights are asked for: which of
    its folders was meant. None for any other folder."""
    if not is_training(folder):
        return None
    found = weights_of_training(folder)
    if not found:
        return f"is the folder of a training without weights yet; they will be in {folder / FINAL}"
    others = f" There are also {', '.join(map(str, found[1:]))}" if found[1:] else ""
    return f"is the folder of a training; did you mean {found[0]}?{others}"


def sums(folder: Path) -> dict[str, str]:
    """sha256 of every file of an export, by its path in the folder; facts and card are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if name not in (FACTS, CARD):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def damage(folder: Path) -> str | None:
    """What is wrong with an export: it is absent, incomplete, or a checksum differs; None where it
    is sound.

    An older export without checksums counts as sound.
    """
    if not (folder / CARD).is_file():
        return "not there"
    try:
        expected = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("sha256")
        found = expected and sums(folder)
    except (OSError, ValueError, AttributeError):
        return f"its {FACTS} is damaged"
    if not isinstance(expected, dict | None):
        return f"its {FACTS} is damaged"
    for name, sha256 in (expected or {}).items():
        if found.get(name) != sha256:
            return f"the checksum of {name} is wrong"
    return None
