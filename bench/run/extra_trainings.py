"""Further trainings of a method, shipped as scores and features instead of weights.

A claim about a method rests on several trainings of it, but only one of each is shipped. What a
claim needs of the others lies in `reports/trainings/<prompt set>/<row>.seed<n>.safetensors`,
shipped or in the working folder: scores by prompt (fp32) and, for distances, the 64-dimensional
features (fp16). A run's claims take them in where contestant (all but the weights), recipe, length
of training (unless the recipe's own watch ended one early), prompts, seeds and the metric's
identity are those of the run; so does its table, from three trainings on.

    python bench.py suite=shapes_table5 contestants.tcd.lora=runs/seed1/tcd/final out=runs/seed1/run
    python -m bench.run.extra_trainings runs/seed1/run tcd-2step tcd-4step
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.contestants import files, identity
from bench.contestants.card import Card
from bench.errors import UsageError, exit_code, nearest
from bench.metrics.base import Metric
from bench.results.entries import Arrays, Entry, read_entry, write_entry
from bench.results.run_folder import RunFolder
from bench.run.plan import Plan
from bench.run.rows_left import Planned
from bench.run.shipped import same_prompts
from bench.statistics.comparisons import Scored
from bench.statistics.result import Result, mean_result, results_of
from hypersd.hashes import Hashes, digest
from hypersd.package_data import packaged

OWN = Path("reports/trainings")  # in the working folder, where rows are kept
FOLDER = packaged("bench", "reports") / "trainings"
TRAINED = (
    "recipe",
    "steps",
    "images_seen",
)  # fields of a card that all trainings of a method share
ENDED = "ended"  # of a card: why the recipe's watch ended the training before its last step
FEATURES = "features."  # and an extractor: what distances are made of


def keep(run: Path, names: Sequence[str], root: Path = OWN) -> list[Path]:
    """Write rows of a finished run below `root`; the files.

    Raises UsageError: no such run or row, one that was cut by `limit`, or weights without a card
    that says recipe and seed.
    """
    folder = RunFolder(run).checked()
    if folder.summary.limit is not None:
        raise UsageError(f"run={run}: was cut by limit={folder.summary.limit}; keep a whole run")
    return [_keep(folder, name, root) for name in names]


def _keep(folder: RunFolder, name: str, root: Path) -> Path:
    rows = [c.name for c in folder.summary.contestants]
    if name not in rows:
        raise UsageError(f"run={folder.path}: no row {name!r}; {nearest(name, rows)}")
    contestant, about = folder.summary.contestant(name), folder.summary.conditions
    card = _card(folder, name)
    record = {
        "name": name, "method": contestant.method, "steps": contestant.steps,
        "identity": contestant.identity, "like": like(folder.about["parts"][name]),
        "prompts": about["prompts_revision"], "n": about["n"], "seeds": about["seeds"],
        "size": about["size"],
        "training": {key: card[key] for key in (*TRAINED, "seed", ENDED) if key in card},
        "metrics": {metric: value.identity for metric, value in contestant.metrics.items()},
    }  # fmt: skip
    path = _folder(root, about["prompts"]) / f"{name}.seed{card['seed']}.safetensors"
    write_entry(path, Entry(_arrays(folder, name), record))
    return path


def _folder(root: Path, prompts: str) -> Path:
    return root / prompts.replace("/", "_")


def _card(folder: RunFolder, name: str) -> dict[str, Any]:
    """The training.json of a row's weights."""
    for given in folder.resolved.get("contestants", []):
        if name in [f"{given['key']}-{steps}step" for steps in given["steps"]]:
            path = files.weights_path(given["weights"]) if given["weights"] else Path()
            try:
                card: dict[str, Any] = json.loads((_within(path) / "training.json").read_bytes())
                missing = [key for key in (*TRAINED, "seed") if key not in card]
            except (OSError, ValueError):
                card, missing = {}, ["training.json"]
            if missing:
                raise UsageError(f"contestants.{given['key']}: no {missing[0]} beside {path}; "
                                 "valid: weights in the folder that a training left")  # fmt: skip
            return card
    raise UsageError(f"run={folder.path}: {name} was not drawn from weights")


def _within(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _arrays(folder: RunFolder, name: str) -> Arrays:
    arrays: Arrays = {}
    for metric, result in results_of(folder, name).items():
        if result.per_prompt is not None:
            arrays[metric] = result.per_prompt.astype(np.float32)
            arrays[f"{metric}.prompts"] = np.asarray(result.prompts)
    for extractor, values in folder.features(name).items():
        if extractor in ("index", "seed"):
            arrays[extractor] = values
        else:
            arrays[f"{FEATURES}{extractor}"] = values.astype(np.float16)
    return arrays


def like(parts: Mapping[str, Any]) -> str:
    """A hash of a contestant's identity without its weights."""
    return digest({key: value for key, value in parts.items() if key != "weights"})


@dataclass(frozen=True)
class ExtraTrainings:
    """trainings: those that a run's claims take in, scored.  refused: why others are not."""

    trainings: list[Scored]
    refused: list[str]


def find(plan: Plan, scored: Sequence[Scored], metrics: Sequence[Metric]) -> ExtraTrainings:
    """The extra trainings of methods that the suite's claims name."""
    found = ExtraTrainings([], [])
    claimed = {name for c in plan.suite.claims for name in (c.a, c.b)}
    hashes = Hashes(plan.options.cache / "hashes.json")
    for path in _kept(plan.prompts.name):
        try:
            entry = read_entry(path)
        except ValueError as error:
            found.refused.append(f"{path.name}: {error}")
            continue
        own = [(planned, one) for planned, one in zip(plan.rows, scored, strict=True)
               if planned.row.settings.method == entry.record["method"]
               and planned.row.steps == entry.record["steps"]]  # fmt: skip
        if own and entry.record["method"] in claimed:
            why = _refusal(entry.record, plan, own[0][0], hashes)
            if why is None:
                found.trainings.append(_scored(entry, path.stem, own[0][1], plan, metrics))
            else:
                found.refused.append(f"{path.name}: {why}")
    return found


def _kept(prompts: str) -> list[Path]:
    """The files of a prompt set by name: shipped ones, and the user's own before these."""
    roots = (_folder(root, prompts) for root in (FOLDER, OWN))
    found = {path.name: path for root in roots for path in root.glob("*.safetensors")}
    return [found[name] for name in sorted(found)]


def _refusal(record: Mapping[str, Any], plan: Plan, planned: Planned, hashes: Hashes) -> str | None:
    """Why an extra training is not the run's contestant with another seed."""
    settings = planned.row.settings
    if settings.source not in ("lora", "unet"):
        return f"{planned.row.name} is not drawn from weights here"
    parts = identity.parts(planned.row, plan.prompts, hashes)
    if not isinstance(parts, dict) or record["like"] != like(parts):
        return f"{planned.row.name} is drawn otherwise here"
    if record["size"] != plan.suite.size or record["seeds"] != list(plan.suite.seeds):
        return "is of another size or other seeds"
    if not same_prompts(dict(record), plan.prompts, plan.keys):
        return "is of other prompts"
    card, training = Card(settings).facts, record["training"]
    is_ended = ENDED in card or ENDED in training
    for key in ("recipe",) if is_ended else TRAINED:
        if card.get(key) != training[key]:
            return f"another training: {key} {training[key]}, here {card.get(key)}"
    if card.get("seed") == training["seed"]:
        return f"training seed {training['seed']} is that of {planned.row.name} itself"
    return None


def _scored(entry: Entry, stem: str, own: Scored, plan: Plan, metrics: Sequence[Metric]) -> Scored:
    """An extra training on the prompts of the run, by the metrics that are still the same."""
    identities = entry.record["metrics"]
    results = {
        metric.name: result
        for metric in metrics
        if metric.name in own.results and identities.get(metric.name) == metric.identity
        if (result := _result(entry.arrays, metric, plan)) is not None
    }
    values = {name: own.contestant.metrics[name] for name in results}
    who = replace(own.contestant, name=stem, identity=entry.record["identity"], metrics=values)
    return Scored(who, results)


def _result(arrays: Arrays, metric: Metric, plan: Plan) -> Result | None:
    prompts = sorted({key.index for key in plan.keys})
    if metric.name in arrays:
        ids = arrays[f"{metric.name}.prompts"]
        kept = np.isin(ids, prompts)
        return mean_result(arrays[metric.name][kept].astype(np.float64), ids[kept].tolist())
    features = arrays.get(f"{FEATURES}{metric.extractor}")
    if features is None:
        return None
    kept = np.isin(arrays["index"], prompts)
    texts = {key.index: key.prompt for key in plan.keys}
    clusters = arrays["index"][kept].tolist()
    asked = [texts[index] for index in clusters]
    return metric.evaluate(features[kept].astype(np.float32), asked, clusters)


def main(words: list[str]) -> int:
    """Keep rows of a run; 0 when done, 2 for what the user must change."""
    if len(words) < 2:
        print("usage: python -m bench.run.extra_trainings RUN ROW [ROW ...]", file=sys.stderr)
        return 2
    return exit_code(lambda: print(*keep(Path(words[0]), words[1:]), sep="\n"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
