"""Put finished trainings among the shipped weights: `python -m hypersd.shapes.ship NAME ...`.

NAME is "base" (the teacher, with the autoencoder that it was trained on), an adapter ("lcm", "tcd",
"tscd") or an evaluator. Trainings are looked for in runs/train/shapes_<name>/final, those that were
trained on in runs/train/<recipe>/final.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hypersd.errors import UsageError, nearest
from hypersd.shapes.weights import FOLDER, NAMES

TRAININGS = Path("runs/train")
TRAINED_ON = {  # recipes by name
    "base": "shapes_teacher_overlaps",
    "clip": "shapes_clip_reading",
    "oracle": "shapes_oracle_longer",
}


def finished(recipe: str) -> Path:
    """The exported folder of a recipe's training. Raises UsageError where it is not done."""
    final = TRAININGS / recipe / "final"
    if not (final / "README.md").is_file():
        raise UsageError(f"{final} is not there; make it with: python -m hypersd recipe={recipe} "
                         f"out={final.parent}")  # fmt: skip
    return final


def ship(name: str) -> Path:
    """Copy one finished training to its place; returns the folder.

    Raises UsageError for an unknown name or a training that is not done.
    """
    if name not in NAMES:
        raise UsageError(f"no shipped weights {name!r}; {nearest(name, NAMES)}")
    source = finished(TRAINED_ON.get(name, f"shapes_{name}"))
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def main(names: list[str]) -> int:
    """Ship every name; 0 when done, 2 for what the user must change."""
    try:
        for name in names:
            print(ship(name))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if names else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
