"""One tuning trial: train a recipe with some fields changed on fewer pictures, and score what it
draws for 500 validation prompts (suite `shapes_tuning`):

    python benchmarks/tuning.py RECIPE PICTURES STEPS [key=value ...]
    python benchmarks/tuning.py shapes_tcd 8000 1,4 lr=3.0e-4

The stages of a chain are shortened alike, and what each of them left is judged at as many steps as
it has segments, by the teacher's own jumps. STEPS: the numbers of steps that the end is judged at.
Prints one line of JSON (recipe, changes, pictures, seconds, mean scores by step); every trial made
for the shipped weights is in docs/log.md. Trainings and runs are kept in runs/tuning.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.results.summary import read
from bench.suite.sampling import of_recipe
from hypersd import recipe as recipes
from hypersd.drawing import JUMPS
from hypersd.plain_yaml import value
from hypersd.recipe import Recipe

METRICS = ("clip", "aesthetic", "hps", "faithful", "fid")
OUT = Path("runs/tuning")


def shortened(recipe: Recipe, pictures: int) -> dict[str, Any]:
    """The fields of a recipe that sees about so many pictures: `steps`, and `stages` alike."""
    steps = round(pictures / recipe.batch)
    if not recipe.stages or "steps" not in recipe.stages[0]:
        return {"steps": steps}
    stages = [
        {**stage, "steps": max(1, round(stage["steps"] * steps / recipe.steps))}
        for stage in recipe.stages
    ]
    return {"steps": sum(stage["steps"] for stage in stages), "stages": stages}


def run(*command: str) -> None:
    """A command of the project; its exit code 4 (a few odd pictures) is no failure."""
    if subprocess.run([sys.executable, *command], stdout=sys.stderr).returncode not in (0, 4):
        raise SystemExit(f"error: {' '.join(command)} failed")


def given_as(key: str, recipe: Recipe, folder: Path, how: Any, steps: str) -> list[str]:
    """Weights as a contestant on the command line, drawn as a dataclass of settings says."""
    kind = "unet" if recipe.options.get("full") else "lora"
    drawn = {k: v for k, v in dataclasses.asdict(how).items() if v is not None}
    fields = {kind: str(folder), **drawn}
    pairs = [f"+contestants.{key}.{k}={json.dumps(v)}" for k, v in fields.items()]
    return [*pairs, f"+contestants.{key}.steps={steps}"]


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    name, pictures, steps, *changes = arguments
    given = {k: value(v, k) for k, _, v in (change.partition("=") for change in changes)}
    given |= shortened(recipes.load(name, given), int(pictures))
    recipe = recipes.load(name, given)
    out = OUT / f"{name}-{recipe.identity}"
    pairs = [f"{key}={json.dumps(v)}" for key, v in given.items()]
    run("-m", "hypersd", f"recipe={name}", f"out={out}", *pairs)
    drawn = given_as("it", recipe, out / "final", of_recipe(recipe), f"[{steps}]")
    for folder in sorted(out.glob("*segments")):
        segments = folder.name.removesuffix("segments")
        drawn += given_as(f"segments{segments}", recipe, folder, JUMPS, f"[{segments}]")
    run("bench.py", "suite=shapes_tuning", f"out={out}-run", f"steps=[{steps}]", *drawn)
    summary = read(Path(f"{out}-run") / "result.json")
    print(json.dumps({
        "recipe": name, "changes": changes, "pictures": recipe.images_seen,
        "seconds": json.loads((out / "final" / "training.json").read_bytes())["seconds"],
        "scores": {
            row.name: {metric: round(row.metrics[metric].value, 4) for metric in METRICS}
            for row in summary.contestants
            if not row.is_anchor
        },
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
