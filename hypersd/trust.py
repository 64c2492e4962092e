"""Refuses pipeline folders that would run code of their own while they are loaded.

diffusers takes each part's class from the library that model_index.json names: any library that can
be imported, or `<part>/<library>.py` in the folder itself. Needs no torch, so a plan can ask.
"""

from __future__ import annotations

import json
from pathlib import Path

from hypersd.errors import UsageError

# The last is diffusers' own package of SD1.5's safety checker.
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")


def refuse_code(folder: Path) -> None:
    """Raise UsageError for a pipeline folder with a part that is not diffusers' or transformers',
    or whose model_index.json cannot be read."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: value[0] for name, value in index.items() if isinstance(value, list)}
    except (OSError, ValueError, AttributeError, IndexError, RecursionError):
        raise UsageError(f"{folder}: its model_index.json is damaged") from None
    for name, library in parts.items():
        own = folder / name / f"{library}.py"
        if library is not None and (library not in LIBRARIES or own.exists()):
            raise UsageError(
                f"{folder}: its {name} would run code of {library!r}; valid are parts of "
                "diffusers and transformers"
            )
