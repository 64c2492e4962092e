"""What fails on some images is counted and named; the rest goes on, with exit code 4."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.faults import victims
from tests.support.judges import Brightness, Judges, Patches

Bench = Callable[..., int]
WORDS = ("out=run", "~contestants.mine")


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run/result.json").read_text())
    return found


@dataclass(frozen=True)
class Failing(Patches):
    """Fails on its second batch, by an exception or a feature that is not finite."""

    how: str = "raises"
    calls: list[int] = field(default_factory=list)

    def __call__(self, images: Any, prompts: Sequence[str]) -> Any:
        features = super().__call__(images, prompts)
        self.calls.append(len(features))
        if len(self.calls) == 2:
            if self.how == "raises":
                raise RuntimeError("no such kernel")
            features[2] = np.nan
        return features


@pytest.mark.parametrize(("how", "said"), [("raises", "RuntimeError: no such kernel"),
                                           ("nan", "not finite")])  # fmt: skip
def test_a_metric_that_fails_on_one_batch(
    bench: Bench, world: Path, undisturbed: Path, judges: Judges, how: str, said: str
) -> None:
    """The contestant has no value rather than one of fewer images; the same command mends it."""
    judges.extractor = Failing(how=how)
    assert bench(*WORDS) == 4
    found = result(world)
    (line,) = found["ledger"]["not_scored"]
    assert line.startswith("real: patches, prompts 5 to 9: ") and said in line  # drawn first
    lcm, real = found["contestants"]
    assert real["metrics"] == {} and set(lcm["metrics"]) == {"fid", "clip"}
    assert said in (world / "run/report.html").read_text()
    judges.extractor = Patches()
    assert bench(*WORDS) == 0
    expected = [row for row in victims.outcome(undisturbed)["numbers"] if row[0] != "mine-1step"]
    assert victims.outcome(world)["numbers"] == expected


class Diverging(Brightness):
    """Fails on features that it was given whole."""

    def evaluate(self, *arguments: Any) -> Any:
        raise np.linalg.LinAlgError("did not converge")


def test_a_metric_that_fails_on_the_whole(bench: Bench, world: Path, judges: Judges) -> None:
    judges.metrics["fid"] = Diverging("fid")
    assert bench(*WORDS) == 4
    found = result(world)
    assert found["ledger"]["not_scored"] == [
        f"{name}: fid: LinAlgError: did not converge" for name in ("lcm-1step", "real")
    ]
    assert [set(c["metrics"]) for c in found["contestants"]] == [{"clip"}, {"clip"}]


def test_latents_that_are_not_finite(
    bench: Bench, world: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image is drawn black and named; its neighbours in the batch are as ever."""
    from bench.contestants.sampler import Sampler
    from bench.results.entries import read_entry

    denoise = Sampler._denoise

    def broken(self: Sampler, *given: Any) -> torch.Tensor:
        latents = denoise(self, *given)
        if not drawn:
            latents[3] = torch.nan
        drawn.append(len(latents))
        return latents

    drawn: list[int] = []
    monkeypatch.setattr(Sampler, "_denoise", broken)
    assert bench(*WORDS) == 4
    assert result(world)["ledger"]["not_finite"] == ["lcm-1step: prompt 3, seed 0"]
    for path in (world / "runs/cache/images").rglob("*.safetensors"):
        mine = read_entry(path).arrays["images"]
        theirs = read_entry(undisturbed / path.relative_to(world)).arrays["images"]
        other = np.flatnonzero((mine != theirs).any(axis=(1, 2, 3))).tolist()
        assert other in ([], [3]) and (other == [] or mine[3].max() == 0)


def test_a_clock_that_goes_backwards(
    bench: Bench, world: Path, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the time of day nor that of files decides what is made: nothing is made again."""
    assert bench(*WORDS) == 0
    before = victims.outcome(world)
    now = time.time()
    falling = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: now - 10**8 - next(falling))
    for number, path in enumerate(sorted((world / "runs").rglob("*"))):
        os.utime(path, (now + 10**7 - number, now + 10**7 - number))
    monkeypatch.setattr("bench.run.worker.draw_batch", None)
    judges.extractor = Unused()
    assert bench(*WORDS) == 0
    assert victims.outcome(world) == before


class Unused(Patches):
    """Must not be called."""

    def __call__(self, images: Any, prompts: Sequence[str]) -> Any:
        raise AssertionError("scored again")
