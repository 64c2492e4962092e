"""How much another VAE, or its precision, changes pictures and metrics:

    python -m benchmarks.vae_precision suite=shapes_1step vae_precision=bf16 [key=value ...]
    python -m benchmarks.vae_precision suite=sdxl_quick vae=hf://madebyollin/sdxl-vae-fp16-fix

Two runs of a suite, as it is and with what `vae=` and `vae_precision=` say, in
`runs/benchmarks/vae`: the mean difference of a level of 255 between the pictures of a row, and of
each metric the change beside its margin. What is faster could be a default where the first is below
1 and no metric moves by more than its margin.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.cli import main as bench
from bench.statistics import margins
from benchmarks.measure import machine

FOLDER = Path("runs/benchmarks/vae")
OF_VAE = ("vae=", "vae_precision=")


def main(arguments: list[str]) -> None:
    """Print a Markdown table, write the values beside it."""
    changed = [word for word in arguments if word.startswith(OF_VAE)]
    rest = [word for word in arguments if word not in changed]
    for words, name in ((rest, "usual"), ([*rest, *changed], "other")):
        if bench([*words, f"out={FOLDER / name}", "precomputed=false"]):
            raise SystemExit(1)
    usual, other = (_rows(FOLDER / name) for name in ("usual", "other"))
    drawn = [name for name, row in usual.items() if row["seconds_per_image"] is not None]
    found = {name: compared(name, usual[name], other[name]) for name in drawn}
    print("| row | mean difference, of 255 | VAE, seconds | of a metric: change (margin) |")
    print("|---|---|---|---|")
    for name, row in found.items():
        moved = [f"`{m}` {v['change']:+.3g} ({v['margin']:.3g})" for m, v in row["metrics"].items()]
        seconds = f"{row['usual_vae']:.3g}, {row['other_vae']:.3g}"
        print(f"| {name} | {row['level']:.3f} | {seconds} | {', '.join(moved)} |")
    path = FOLDER.with_suffix(".json")
    held = {"name": path.stem, "machine": machine(), "words": arguments, "values": found}
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(f"\n{' '.join(changed)}; {machine()['words']}\n{path}")


def compared(name: str, usual: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A row's mean difference of a level, seconds of its VAE, and what its metrics change by."""
    moved = {}
    for metric, value in usual["metrics"].items():
        plain = value["value"] if value["at_infinity"] is None else value["at_infinity"]
        change = other["metrics"][metric]["value"] - value["value"]
        moved[metric] = {"change": change, "margin": margins.size(margins.of(metric), plain)}
    seconds = [row["seconds_per_image"]["vae"] for row in (usual, other)]
    level = level_apart(*(FOLDER / run / "images" / name for run in ("usual", "other")))
    return {"level": level, "usual_vae": seconds[0], "other_vae": seconds[1], "metrics": moved}


def level_apart(one: Path, other: Path) -> float:
    """The mean difference between the pictures of two folders, in levels of 255."""
    found = [
        np.abs(_pixels(path) - _pixels(other / path.name)).mean()
        for path in sorted(one.glob("*.png"))
    ]
    return float(np.mean(found))


def _pixels(path: Path) -> Any:
    return np.asarray(Image.open(path)).astype(int)


def _rows(run: Path) -> dict[str, dict[str, Any]]:
    held = json.loads((run / "result.json").read_bytes())
    return {one["name"]: one for one in held["contestants"]}


if __name__ == "__main__":
    main(sys.argv[1:])
