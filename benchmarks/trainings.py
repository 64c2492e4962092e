"""Score further trainings of the shipped students, as the tables of the world need them:

    python -m benchmarks.trainings SEED [SEED ...]

Their weights lie in reports/trainings/weights/<name>.seed<n> (`hypersd.shapes.seeds` puts them
there). Each seed's are drawn and judged in the place of the shipped ones of that name in SUITES, in
one run (runs/trainings), and their rows are kept (`bench.run.extra_trainings`): after a change of a
judge, nothing is trained again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.errors import UsageError, exit_code
from bench.run.extra_trainings import FOLDER, keep
from bench.suite import suite as suites

SUITES = ("shapes_table2", "shapes_table3", "shapes_table4", "shapes_table5", "shapes_rivals",
          "shapes_with_feedback")  # fmt: skip
WEIGHTS = FOLDER / "weights"
RUNS = Path("runs/trainings")
SHIPPED = "shapes/"


def suite_of(seed: int, weights: Path = WEIGHTS) -> dict[str, Any]:
    """One suite of all contestants whose weights of a seed are kept, on the prompts of SUITES.

    Raises UsageError where there are none.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    read = [yaml.safe_load(suites.locate(name).read_text(encoding="utf-8")) for name in SUITES]
    for given in read:
        for key, steps, settings in _rows(given):
            if own := _of_seed(settings, seed, weights):
                found.setdefault(key, {})[steps] = own
    if not found:
        raise UsageError(f"{weights}: no weights of seed {seed}; make them with: "
                         f"python -m hypersd.shapes.seeds {seed} {weights} NAME")  # fmt: skip
    return {
        "title": f"Trainings of seed {seed}", "version": 1,
        "steps": sorted({steps for of in found.values() for steps in of}),
        "prompts": read[0]["prompts"], "seeds": read[0]["seeds"], "repeats": read[0]["repeats"],
        "metrics": list(dict.fromkeys(metric for given in read for metric in given["metrics"])),
        "contestants": {key: {"at": of} for key, of in found.items()},
    }  # fmt: skip


def _rows(given: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The settings of every contestant at every number of its steps."""
    for key, contestant in given["contestants"].items():
        own = {name: v for name, v in contestant.items() if name not in ("at", "steps")}
        at = contestant.get("at", {})
        for steps in at or contestant.get("steps", given["steps"]):
            yield key, steps, {**own, **at.get(steps, {})}


def _of_seed(settings: Mapping[str, Any], seed: int, weights: Path) -> dict[str, Any] | None:
    """The settings with a seed's weights in place of shipped ones; None where there are none."""
    for kind in ("lora", "unet"):
        folder = weights / f"{str(settings.get(kind, '')).removeprefix(SHIPPED)}.seed{seed}"
        if kind in settings and folder.is_dir():
            return {**settings, kind: str(folder)}
    return None


def score(seed: int) -> list[Path]:
    """Draw, judge and keep the rows of a seed; the files."""
    suite = suite_of(seed)
    RUNS.mkdir(parents=True, exist_ok=True)
    path, out = RUNS / f"seed{seed}.yaml", RUNS / f"seed{seed}"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "bench", f"suite={path}", f"out={out}"])
    if done.returncode not in (0, 4):
        raise UsageError(f"suite={path}: failed")
    rows = [f"{key}-{n}step" for key, of in suite["contestants"].items() for n in of["at"]]
    return keep(out, rows, FOLDER)


def main(given: Sequence[str]) -> int:
    """Score seeds; 0 when done, 2 for what the user must change."""
    if not given or not all(word.isdecimal() for word in given):
        print("usage: python -m benchmarks.trainings SEED [SEED ...]", file=sys.stderr)
        return 2
    return exit_code(lambda: print(*(p for seed in given for p in score(int(seed))), sep="\n"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
