"""Put finished trainings among the shipped weights: `python -m hypersd.shapes.ship NAME ...`.

NAME is "base" (the teacher, with the autoencoder that it was trained on), a student or one of the
evaluators: any of `hypersd.shapes.weights.NAMES`. Trainings are looked for in
runs/train/<recipe>/final, snapshots of a chain beside it (`hypersd.shapes.weights.training`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hypersd.errors import UsageError, exit_code, nearest
from hypersd.package_data import need_checkout
from hypersd.shapes.weights import FOLDER, NAMES, training
from hypersd.whole_files import folder_written_whole

TRAININGS = Path("runs/train")


def finished(recipe: str, part: str = "final", trainings: Path = TRAININGS) -> Path:
    """An exported folder of a recipe's training, whose last part is done too.

    Raises UsageError where it is not there: a snapshot alone is of a training that still runs.
    """
    folder = trainings / recipe
    for name in (part, "final"):
        if not (folder / name / "README.md").is_file():
            raise UsageError(f"{folder / name} is not there; make it with: "
                             f"python -m hypersd recipe={recipe} out={folder}")  # fmt: skip
    return folder / part


def ship(name: str) -> Path:
    """Copy one finished training to its place; returns the folder.

    Raises UsageError for an unknown name, a training that is not done, and outside of a checkout.
    """
    if name not in NAMES:
        raise UsageError(f"no shipped weights {name!r}; {nearest(name, NAMES)}")
    need_checkout("hypersd")
    return put(finished(*training(name)), FOLDER / name)


def put(source: Path, target: Path) -> Path:
    """Copy an exported folder to its place, whole and for everybody to read; returns the place."""
    with folder_written_whole(target) as beside:
        shutil.copytree(source, beside, dirs_exist_ok=True)
        for path in (beside, *beside.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def main(names: list[str]) -> int:
    """Ship every name; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: _ship(names))


def _ship(names: list[str]) -> int:
    for name in names:
        print(ship(name))
    return 0 if names else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
