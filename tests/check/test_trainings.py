"""Weights that were trained again are judged over training seeds, and can be judged as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.check import baseline
from tests.check.made_runs import Made, drawn, texts

Check = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]
PROMPTS = texts(120)
MARGINS = {"seeds": [0], "size": 64, "margins": {"clip": 2.0, "fid": 0.2, "faithful": 0.2}}
USUAL = 0.25  # noise of the baseline's training
LUCK = 0.32  # of another one: bad luck, but no more


def training(seed: int, noise: float) -> Made:
    """One contestant out of a training of its own."""
    return trainings({"lcm-1step": (seed, noise)})


def trainings(given: Mapping[str, tuple[int, float]]) -> Made:
    return Made(
        PROMPTS, {name: drawn(PROMPTS, seed=seed, noise=noise) for name, (seed, noise) in
                  given.items()},
        identities={name: f"{name} of seed {seed}" for name, (seed, _) in given.items()},
        parts={name: {"weights": ["lora", f"{seed}" * 64]} for name, (seed, _) in given.items()},
        resolved=MARGINS, trained=True, shown=0,
    )  # fmt: skip


def several(seeds: Sequence[int], noises: Sequence[float]) -> Made:
    """Trainings of one method; the first is the row."""
    names = ["lcm-1step", *(f"lcm_{seed}-1step" for seed in seeds[1:])]
    return trainings(dict(zip(names, zip(seeds, noises, strict=True), strict=True)))


def rows(run: Path) -> dict[str, dict[str, Any]]:
    held = json.loads((run / "check/check.json").read_text())["verdicts"]
    return {row["subject"]: row for row in held if row["contestant"] == "lcm-1step"}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that are known to lie this far apart."""
    spreads = {"clip": 2.0, "fid": 0.1, "faithful": 0.08}
    of = {name: {"variance": sd**2, "freedom": 20.0} for name, sd in spreads.items()}
    (tmp_path / "spread.json").write_text(json.dumps({"1": of}))
    monkeypatch.setattr(baseline, "SPREAD", tmp_path / "spread.json")


def test_another_training_is_no_regression_where_its_seed_may_be_what_did_it(
    kept: None, write_run: Write, check: Check, tmp_path: Path
) -> None:
    """The weights are worse, and that is found where it is asked; the training need not be."""
    check(write_run("base", training(0, USUAL)), tmp_path / "main", "update=true")
    run = write_run("run", training(1, LUCK))
    code, said, _ = check(run, tmp_path / "main")
    assert code == 3, said
    assert "training lcm-1step: judged over new training seeds" in said
    clip = rows(run)["clip"]
    assert (clip["gate"], clip["trainings"], clip["outcome"]) == (
        "training",
        [1, 1],
        "inconclusive",
    )
    assert clip["trainings_needed"] is None or clip["trainings_needed"] > 1
    assert check(run, tmp_path / "main", "check=weights")[0] == 1
    assert rows(run)["clip"]["gate"] == "weights"
    assert rows(run)["clip"]["outcome"] == "regress"


def test_a_training_that_is_worse_than_any_seed_makes_it_regresses(
    kept: None, write_run: Write, check: Check, tmp_path: Path
) -> None:
    check(write_run("base", training(0, USUAL)), tmp_path / "main", "update=true")
    run = write_run("run", training(1, 1.0))
    assert check(run, tmp_path / "main")[0] == 1
    assert "no chance, of prompts or of the training's seed" in rows(run)["clip"]["why"]


def test_two_trainings_of_which_nothing_is_known_are_not_judged(
    write_run: Write, check: Check, outcomes: Callable[[Path], Mapping[tuple[str, str], str]]
) -> None:
    base, run = write_run("base", training(0, USUAL)), write_run("run", training(1, 1.0))
    code, said, _ = check(run, base)
    assert code == 3
    assert "how far trainings differ is not known" in said
    assert set(outcomes(run).values()) == {"inconclusive", "pass"}  # speed and memory pass
    assert check(run, base, "check=weights")[0] == 1


def test_several_trainings_of_either_side_say_themselves_how_far_they_differ(
    write_run: Write, check: Check
) -> None:
    base = write_run("base", several([0, 1, 2], [0.25, 0.26, 0.24]))
    worse = write_run("worse", several([3, 4, 5], [0.5, 0.52, 0.48]))
    assert check(worse, base)[0] == 1
    clip = rows(worse)["clip"]
    assert (clip["outcome"], clip["trainings"]) == ("regress", [3, 3])
    alike = write_run("alike", several([6, 7, 8], [0.26, 0.24, 0.25]))
    check(alike, base)
    assert rows(alike)["clip"]["outcome"] == rows(alike)["faithful"]["outcome"] == "pass"


def test_weights_that_did_not_change_are_judged_as_they_are(
    kept: None, write_run: Write, check: Check, tmp_path: Path
) -> None:
    """Another scheduler, another library: no seed of a training is in it."""
    made = training(0, USUAL)
    check(write_run("base", made), tmp_path / "main", "update=true")
    other = replace(made, pictures={"lcm-1step": drawn(PROMPTS, noise=LUCK)},
                    identities={"lcm-1step": "another"})  # fmt: skip
    run = write_run("run", other)
    assert check(run, tmp_path / "main")[0] == 1
    assert rows(run)["clip"]["gate"] == "weights"
    check(run, tmp_path / "main", "check=training")
    assert rows(run)["clip"]["gate"] == "training"
    assert check(write_run("same", made), tmp_path / "main", "check=training")[0] == 0


def test_false_alarms_of_trainings_that_differ_in_their_seed_alone() -> None:
    """Of the weights they are no false alarms, which is why the question is asked apart."""
    from benchmarks.gate_errors import Case, Kind, outcome, row

    kinds = [Kind("clip", 0.2, 4.0, 6.0), Kind("aesthetic", 0.056, 4.0, 0.56)]
    margins, found = {"clip": 0.2, "aesthetic": 0.05}, {}
    for gate in ("weights", "training"):
        rng, case = np.random.default_rng(0), Case("", gate, margins)
        said = [outcome([row(case, kind, 2_000, rng) for kind in kinds]) for _ in range(150)]
        found[gate] = said.count("regress") / len(said)
    assert found["weights"] > 0.2
    assert found["training"] <= 0.05


def test_another_question_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli import main

    assert main(["task=check", "run=x", "baseline=./y", "check=seed"]) == 2
    assert "check=seed" in capsys.readouterr().err
