"""What figures and selections show, against plain definitions of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.report import figures, published, runfiles, selection
from bench.report.runfiles import RunFiles
from bench.report.selection import Choice
from bench.results.summary import Comparison, Contestant, MetricValue, SecondsPerImage, Summary


def contestant(name: str, value: float, seconds: float, higher: bool) -> Contestant:
    metric = MetricValue(value, value, value, 10, "id", higher, "no")
    speed = SecondsPerImage(1, seconds, seconds, 0.0, seconds, 0.0)
    return Contestant(name, name, 1, 1, "id", 10, [0], "", speed, metrics={"m": metric})


@pytest.mark.parametrize("higher", [True, False])
def test_pareto_front_is_what_nobody_dominates(higher: bool) -> None:
    rng = np.random.default_rng(3)
    rows = [
        contestant(str(i), float(v), float(t), higher)
        for i, (v, t) in enumerate(rng.integers(1, 9, (40, 2)))
    ]
    sign = 1 if higher else -1

    def place(c: Contestant) -> tuple[float, float]:
        return figures.milliseconds(c), -sign * c.metrics["m"].value

    expected = {
        place(c) for c in rows
        if not any(
            o[0] <= place(c)[0] and o[1] <= place(c)[1] and o != place(c) for o in map(place, rows)
        )
    }  # fmt: skip
    front = figures.frontier(rows, "m")
    assert {place(c) for c in front} == expected
    assert len(front) == len(expected)
    assert front == sorted(front, key=figures.milliseconds)


def test_step_curves_need_two_step_counts(example_summary: Callable[..., Summary]) -> None:
    assert figures.curves(example_summary(), "clip") == []
    lines = figures.curves(example_summary(steps=(1, 8)), "clip")
    assert [line.method for line in lines] == ["lcm", "tcd", "tscd"]
    assert [[steps for steps, _ in line.points] for line in lines] == [[1, 8]] * 3


def test_win_rates_agree_with_the_comparisons_own(made_up: tuple[Path, Summary]) -> None:
    run, summary = made_up
    files = runfiles.read(summary, run)
    for metric in ("hps", "faithful"):
        found = figures.wins(summary, files, metric)
        assert found is not None
        for row in (r for r in summary.comparisons if r.metric == metric):
            i, j = found.names.index(row.a), found.names.index(row.b)
            assert found.rates[i, j] == pytest.approx(row.win_rate)
            assert found.decided[i][j] == found.decided[j][i] == (row.p_adjusted < 0.05)
        assert np.isnan(np.diag(found.rates)).all()
        both = found.rates + found.rates.T
        assert np.allclose(both[~np.eye(len(both), dtype=bool)], 1)
        bare = figures.wins(summary, RunFiles(run, {}, {}), metric)  # scores are gone
        assert bare is not None
        known = np.isfinite(bare.rates)
        assert np.allclose(bare.rates[known], found.rates[known])
    assert figures.wins(summary, files, "fid") is None


def test_choices_are_the_extremes_of_all_prompts(made_up: tuple[Path, Summary]) -> None:
    run, summary = made_up
    files = runfiles.read(summary, run)
    chosen = {(c.reason, c.a, c.b): c for c in selection.choices(summary, files)}
    delta = files.difference("lcm-1step", "tcd-1step", "hps")
    assert delta is not None
    gains = chosen["gains", "lcm-1step", "tcd-1step"].prompts
    losses = chosen["losses", "lcm-1step", "tcd-1step"].prompts
    assert gains == [int(i) for i in np.argsort(-delta) if delta[i] > 0][: selection.PER_PAIR]
    assert losses == [int(i) for i in np.argsort(delta) if delta[i] < 0][: selection.PER_PAIR]
    apart = selection.distance(files, "lcm-1step", "tcd-1step")
    assert chosen["different", "lcm-1step", "tcd-1step"].prompts[0] == int(np.argmax(apart))
    order = selection.ordered(list(chosen.values()))
    assert len(order) == len(set(order))
    assert order[: selection.RANDOM] == chosen["random", "", ""].prompts


def test_ranks_take_turns() -> None:
    found = [Choice("random", [9, 8]), Choice("gains", [1, 2, 3]), Choice("losses", [4, 1])]
    assert selection.ordered(found) == [9, 8, 1, 4, 2, 3]
    assert selection.ordered(found, most=4) == [9, 8, 1, 4]


def test_random_prompts_are_those_that_most_contestants_have() -> None:
    pictures = {"a": {i: Path() for i in range(50)}, "b": {i: Path() for i in (3, 11, 42)}}
    order = selection.shuffled(RunFiles(Path(), {}, pictures))
    assert set(order[:3]) == {3, 11, 42}
    assert sorted(order) == list(range(50))
    assert order[3:] != sorted(order[3:])


@pytest.mark.parametrize(
    ("indices", "expected"),
    [([], []), ([4], [[4, 4]]), ([2, 0, 1, 5], [[0, 2], [5, 5]]), (range(5000), [[0, 4999]])],
)
def test_ranges(indices: list[int], expected: list[list[int]]) -> None:
    assert runfiles.ranges(indices) == expected


def test_damaged_files_of_a_run_are_left_out_and_noted(
    made_up: tuple[Path, Summary], tmp_path: Path
) -> None:
    _, summary = made_up
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "lcm-1step.safetensors").write_bytes(b"\x00" * 100)
    (tmp_path / "prompts.jsonl").write_text('{"index": 0, "text": "fine"}\nnot json\n')
    files = runfiles.read(summary, tmp_path)
    assert files.prompts == {0: "fine"}
    assert not files.scores
    assert "scores/lcm-1step.safetensors is damaged" in files.notes[0]
    assert files.notes[1] == "prompts.jsonl is damaged from line 2 on"


def compared(delta: float, p: float) -> Summary:
    row = Comparison("tscd-2step", "tcd-2step", "clip", delta, 0, 0, p, p, None, 10)
    return Summary("s", "p", {}, {}, [], [row])


@pytest.mark.parametrize(
    ("delta", "p", "verdict"),
    [
        (0.2, 0.01, "same direction"),
        (-0.2, 0.01, "opposite direction"),
        (0.2, 0.2, "undecided here"),
    ],
)
def test_published_differences_stand_beside_ours(delta: float, p: float, verdict: str) -> None:
    (row,) = published.beside(compared(delta, p))
    assert row.theirs == pytest.approx(0.13)  # Hyper-SD, Table 5: "+0.13"
    assert (row.verdict, row.table.place) == (verdict, "Tables 3 and 5, SDXL")
