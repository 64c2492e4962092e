"""How far the kept trainings of a method lie apart, by number of steps and metric, in the working
folder's `reports/trainings/spread.json`. A baseline brings it along, so that a check of a training
knows what chance does.

Every kept training (`bench.run.extra_trainings`) has a mean on each metric, or a distance; methods
at one number of steps are pooled (`bench.statistics.spread`).

    python -m bench.run.training_spread
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench.errors import UsageError, exit_code
from bench.metrics import metric as metric_of
from bench.results.entries import Entry, read_entry
from bench.run.extra_trainings import FEATURES, OWN
from bench.statistics.spread import Spread, of_values, pooled
from bench.suite.prompts import SETS
from hypersd.whole_files import written_whole

FILE = "spread.json"
Means = dict[str, float]


def write(root: Path = OWN) -> Path:
    """Write it anew from the trainings kept below `root`; the file. Damaged ones do not count.

    Raises UsageError where none is kept there.
    """
    if not any(root.glob("*/*.safetensors")):
        raise UsageError(f"{root}: no training is kept there; keep rows of a run with: "
                         "python -m bench.run.extra_trainings RUN ROW")  # fmt: skip
    path = root / FILE
    with written_whole(path) as beside:
        beside.write_text(json.dumps(found(root), indent=1) + "\n", encoding="utf-8")
    return path


def found(root: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The spread by number of steps and metric, as plain data: {"4": {"clip": {"variance": ...,
    ...}}}."""
    methods: dict[tuple[str, str], list[Means]] = {}
    for path in sorted(root.glob("*/*.safetensors")):
        try:
            entry = read_entry(path)
        except ValueError:
            continue
        steps, name = str(entry.record["steps"]), entry.record["name"]
        methods.setdefault((steps, f"{path.parent.name}/{name}"), []).append(
            _means(entry, path.parent.name.replace("_", "/", 1))
        )
    spreads: dict[str, dict[str, list[Spread]]] = {}
    for (steps, _), trainings in methods.items():
        for name in set.intersection(*(set(means) for means in trainings)):
            spread = of_values(means[name] for means in trainings)
            spreads.setdefault(steps, {}).setdefault(name, []).append(spread)
    return {
        steps: {
            name: {"variance": whole.variance, "freedom": whole.freedom}
            for name, parts in sorted(of.items())
            if (whole := pooled(parts)) is not None
        }
        for steps, of in sorted(spreads.items())
    }


def _means(entry: Entry, prompts: str) -> Means:
    """A kept training's mean on every metric, a distance's value by its features."""
    found = {}
    for name, identity in entry.record["metrics"].items():
        if name in entry.arrays:
            found[name] = float(entry.arrays[name].mean())
        elif any(key.startswith(FEATURES) for key in entry.arrays):
            value = _distance(entry, name, identity, prompts)
            if value is not None:
                found[name] = value
    return found


def _distance(entry: Entry, name: str, identity: str, prompts: str) -> float | None:
    """A metric's value on kept features; None if the metric has changed."""
    try:
        metric = metric_of(name, {"split": SETS[prompts]} if prompts in SETS else {})
    except UsageError:
        return None
    features = entry.arrays.get(f"{FEATURES}{metric.extractor}")
    if metric.identity != identity or features is None:
        return None
    clusters = entry.arrays["index"].tolist()
    return metric.evaluate(features.astype(np.float32), [], clusters).value


def main() -> int:
    """Write the file; 0 when done."""
    return exit_code(lambda: print(write()))


if __name__ == "__main__":
    sys.exit(main())
