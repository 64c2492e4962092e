"""Checksums of exported weights: are the files still those that the training wrote? Needs no torch,
so a plan can ask."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FACTS, CARD = "training.json", "README.md"


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
