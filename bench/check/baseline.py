"""Baselines: their folders, and how a finished run is written as one.

`baseline=NAME` is `reports/baselines/NAME` in the working folder, else a shipped one of that name;
with a slash it is a folder. `update=true` writes into the working folder, never among what is
shipped. It copies what a check reads, and no more: result.json, run.json, prompts.jsonl, scores,
features, thumbnails, and in baseline.json how far the trainings differ that are kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.check.measured import BASELINE
from bench.errors import UsageError, nearest, os_words
from bench.results.run_folder import RunFolder
from bench.statistics.result import results_of
from hypersd.package_data import packaged
from hypersd.whole_files import folder_written_whole

OWN = Path("reports/baselines")  # in the working folder
FOLDER = packaged("bench", "reports") / "baselines"
SPREAD = Path("trainings/spread.json")  # beside either, of `bench.run.training_spread`
MARK = BASELINE  # says that a folder is a baseline, so that only such a one is replaced
THUMBNAILS = 100  # of each contestant
SIDE = 128


def names() -> list[str]:
    """The baselines of the working folder, and those that are shipped."""
    found = (path.parent.name for root in (OWN, FOLDER) for path in root.glob("*/result.json"))
    return sorted(set(found))


def locate(name: str, *, new: bool = False) -> Path:
    """The folder of a baseline: a name, or a path where it holds a slash.

    new: it is to be written, and need not be there yet.  Raises UsageError for an unknown or
    invalid name.
    """
    if "/" in name or os.sep in name:
        return Path(name)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError(f"baseline={name}: a name holds letters, digits, '_', '.' and '-'")
    if not new and name not in names():
        valid = nearest(name, names()) if names() else "there are none yet"
        raise UsageError(
            f"baseline={name}: no such baseline; {valid}; a folder needs a slash, and "
            "update=true writes a new one"
        )
    own = OWN / name
    return own if new or (own / "result.json").is_file() else FOLDER / name


def write(run: RunFolder, target: Path) -> None:
    """Make `target` the baseline of `run`, whole or not at all; an older one stays until then.

    Raises UsageError where the run lacks something, or `target` holds anything but a baseline.
    """
    if target.exists() and not (target / MARK).is_file() and any(_entries(target)):
        raise UsageError(f"baseline={target}: is not a baseline; nothing was replaced")
    try:
        with folder_written_whole(target) as beside:
            _fill(run, beside)
    except OSError as error:
        reason = os_words(error)
        raise UsageError(f"baseline={target}: cannot be written ({reason})") from None


def _entries(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]


def _fill(run: RunFolder, target: Path) -> None:
    for name in ("result.json", "run.json", "prompts.jsonl"):
        shutil.copyfile(run.path / name, target / name)
    for contestant in run.summary.contestants:
        results_of(run, contestant.name)  # raises where something is missing or damaged
        for kind in ("scores", "features"):
            source = run.path / kind / f"{contestant.name}.safetensors"
            if source.is_file():
                (target / kind).mkdir(exist_ok=True)
                shutil.copyfile(source, target / kind / source.name)
        _thumbnails(run, contestant.name, target / "images" / contestant.name)
    about = {
        "suite": run.summary.suite,
        "protocol": run.summary.protocol,
        "commit": run.summary.environment.get("commit", ""),
        "trainings": _spread(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (target / MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _spread() -> Any:
    """How far kept trainings differ, the user's own before the shipped ones; None where there is
    no file that can be read."""
    for root in (OWN, FOLDER):
        try:
            return json.loads((root.parent / SPREAD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _thumbnails(run: RunFolder, name: str, folder: Path) -> None:
    """At most 100 of a contestant's pictures, evenly spread, as WebP of 128 pixels or less."""
    from hypersd.picture_reader import read

    pictures = list(run.pictures(name).items())
    stride = -(-len(pictures) // THUMBNAILS) or 1
    for index, path in pictures[::stride]:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            small = read(path).image
        except UsageError as error:
            raise UsageError(f"run={run.path}: images/{name}/{path.name} {error}") from None
        small.thumbnail((SIDE, SIDE))
        small.save(folder / f"{index:05d}.webp", "WEBP", quality=80)
