"""Seconds per image: contestants in turns, against sleeps of known length and a busy machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.contestants.sampler import Batch, Sampler
from bench.contestants.schedulers import Evaluations
from bench.report import figures, speed
from bench.results import summary
from bench.results.summary import Contestant, MetricValue, SecondsPerImage
from bench.run import timing, timing_plan
from bench.statistics.intervals import median_interval
from bench.suite import contestant
from bench.suite.contestant import Row

Bench = Callable[..., int]
Drawn = Callable[[Callable[[int, int], float]], list[int]]
SUITE = """
title: Alike
version: 1
steps: [1, 2]
prompts: {set: shapes/test, n: 12}
metrics: [clip]
contestants:
  lcm: {lora: shapes/lcm}
  tcd: {lora: shapes/lcm}
  real: {}
"""


@pytest.mark.parametrize("n", [3, 5, 6, 7, 8, 9, 15, 40])
def test_interval_of_a_median_is_the_one_of_order_statistics(n: int) -> None:
    """The narrowest symmetric pair of order statistics with 95 % by the binomial distribution."""
    values = np.random.default_rng(n).permutation(n).astype(float)
    covers = {k: 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) for k in range(1, n // 2 + 1)}
    ranks = [k for k, share in covers.items() if share >= 0.95]
    found = median_interval(values)
    assert found == (None if not ranks else (ranks[-1] - 1, n - ranks[-1]))
    if n == 40:  # scipy's own interval of a quantile
        known = stats.quantile_test(values, q=np.median(values), p=0.5).confidence_interval(0.95)
        assert found == pytest.approx((known.low, known.high), abs=1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Samplers whose batches take as long as they are told: by steps, and by the number of the call
    once contestants are timed in turns, 0 while they are drawn."""

    def slow(of: Callable[[int, int], float]) -> list[int]:
        turns: list[int] = []
        made, is_timing = timing._made, False

        def call(self: Sampler, keys: Any) -> Batch:
            if is_timing:
                turns.append(len(keys))
            images = np.full((len(keys), 64, 64, 3), 9, np.uint8)
            return Batch(images, {"unet": of(self.steps, len(turns)) * len(keys)})

        def noted(*arguments: Any) -> timing.Times:
            nonlocal is_timing
            is_timing = True
            return made(*arguments)

        monkeypatch.setattr(Sampler, "__call__", call)
        monkeypatch.setattr(timing, "_made", noted)
        return turns

    return slow


def run(bench: Bench, world: Path, *words: str) -> summary.Summary:
    (world / "alike.yaml").write_text(SUITE)
    assert bench("suite=alike.yaml", "out=run", *words) == 0
    return summary.read(world / "run")


def seconds(found: summary.Summary) -> dict[str, SecondsPerImage]:
    return {c.name: c.seconds_per_image for c in found.contestants if c.seconds_per_image}


def test_a_slow_minute_falls_on_everybody_and_equal_networks_come_out_alike(
    bench: Bench, world: Path, drawn: Drawn
) -> None:
    """While they are drawn the machine is busy by chance, and so it is in one of seven rounds."""
    chance = np.random.default_rng(0)

    def of(steps: int, call: int) -> float:
        return steps * (0.001 if call and not 9 <= call <= 12 else 0.001 * chance.uniform(1, 9))

    turns = drawn(of)
    found = seconds(run(bench, world, "rounds=7", "batch=4"))
    assert set(found) == {f"{name}-{n}step" for name in ("lcm", "tcd") for n in (1, 2)}
    for n in (1, 2):
        one, other = found[f"lcm-{n}step"], found[f"tcd-{n}step"]
        assert one.median == pytest.approx(other.median, rel=0.1) == pytest.approx(n * 0.001)
        assert one.rounds == other.rounds == 7
        assert one.low is not None and one.high is not None and one.low <= one.median <= one.high
    assert turns == [4] * 4 * 8  # a round of warming up and seven that count


def test_equal_networks_that_differ_are_not_measured_and_off_the_front(
    bench: Bench, world: Path, drawn: Drawn
) -> None:
    """One of two equal rows is twice as slow, always: more rounds do not help."""
    turns = drawn(lambda steps, call: steps * (0.001 if call % 4 < 2 else 0.002))
    found = run(bench, world, "rounds=3", "batch=4")
    assert found.timing is not None and found.timing.apart == pytest.approx(1.0)
    assert 4 * 3 < len(turns) <= 4 * 9
    rows = [c for c in found.contestants if c.seconds_per_image]
    assert {speed.in_table(c) for c in rows} == {"noisy"}
    assert figures.timed(found, "clip") == []
    page = (world / "run/report.html").read_text()
    assert "seconds could not be measured" in page and ">noisy<" in page


def test_seconds_are_kept_for_the_same_rows_and_made_anew_for_others(
    bench: Bench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing_plan, "ROUNDS", 3)
    monkeypatch.setattr(timing, "ALIKE", 1e9)  # however busy the machine of this test is
    first, second = run(bench, world), run(bench, world)
    assert first.timing is not None and first.timing == second.timing
    assert seconds(first) == seconds(second)
    assert "time" in first.seconds and "time" not in second.seconds
    assert bench("suite=alike.yaml", "~contestants.tcd", "out=other") == 0
    held = json.loads((world / "other/result.json").read_bytes())
    assert "time" in held["seconds"] and len(list((world / "runs/cache/timings").iterdir())) == 2


def test_networks_that_are_called_otherwise_need_not_be_alike() -> None:
    """A text of 512 tokens takes longer than one of 128, and neither is a busy machine's fault."""

    def planned(key: str, **values: Any) -> Any:
        read = contestant.read(key, {"base": "hf://them/flux", "steps": [4], **values}, (4,))
        return SimpleNamespace(row=Row(read, 4), name=key, nfe=Evaluations(4))

    tokens = [("a", 512), ("b", 128), ("c", 512)]
    rows = [planned(key, call={"max_sequence_length": n}) for key, n in tokens]
    plan: Any = SimpleNamespace(rows=rows)
    assert timing._equal(plan, {"a", "b", "c"}) == [["a", "c"]]


def test_what_cannot_be_drawn_any_more_keeps_the_seconds_of_its_drawing(
    bench: Bench, world: Path, drawn: Drawn
) -> None:
    def of(steps: int, call: int) -> float:
        if call:
            raise RuntimeError("the card fell out")
        return 0.001

    drawn(of)
    found = run(bench, world, "rounds=3", "batch=4")
    assert found.timing is not None and len(found.timing.not_timed) == 4
    assert all("the card fell out" in why for why in found.timing.not_timed.values())
    assert all(one.rounds == 0 and one.median > 0 for one in seconds(found).values())


@pytest.mark.parametrize(
    ("image", "images", "rounds"),
    [(0.01, 10, 7), (5.0, 16, 7), (9.0, 16, 3), (100.0, 2, 0), (100.0, 500, 7)],
)
def test_dear_images_are_timed_less_or_not_at_all(image: float, images: int, rounds: int) -> None:
    """SDXL on a CPU takes 100 seconds an image: seven of them are no default."""
    assert timing_plan._rounds(image, images) == rounds


def test_a_batch_fits_its_budget() -> None:
    assert timing_plan._batch(50, 7.0, 1.0) == 6
    assert timing_plan._batch(50, 0.1, 1.0) == 1
    assert timing_plan._batch(8, 1e9, 1.0) == 8


def test_an_invalid_number_of_rounds_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("1", "-1", "1000", "many"):
        assert bench(f"rounds={given}") == 2
        assert "rounds" in capsys.readouterr().err


def test_less_than_a_tenth_faster_is_no_place_on_the_front() -> None:
    def row(name: str, seconds: float, value: float) -> Contestant:
        metric = MetricValue(value, value, value, 10, "id", True, "no")
        times = SecondsPerImage(1, seconds, seconds, 0.0, seconds, 0.0, rounds=7)
        return Contestant(name, name, 1, 1, "id", 10, [0], "", times, metrics={"m": metric})

    rows = [row("a", 0.0074, 1.0), row("b", 0.0076, 3.0), row("c", 0.0085, 2.0), row("d", 0.1, 4.0)]
    assert [c.name for c in figures.frontier(rows, "m")] == ["b", "d"]
