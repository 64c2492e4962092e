"""The suites that are the paper's tables in miniature: rows, samplers, and claims in all."""

from __future__ import annotations

import pytest

from bench import cli
from bench.contestants import files
from bench.statistics.claims import Stated
from bench.suite import suite
from bench.suite.sampling import Sampling
from hypersd.shapes.weights import NAMES

TABLES = tuple(f"shapes_table{n}" for n in (2, 3, 4, 5))
OTHERS = ("shapes_with_feedback", "shapes_rivals", "shapes_same_sampler")
HELD_OUT = ("clip", "hps", "faithful")


def read(name: str) -> suite.Suite:
    found = cli.read([f"suite={name}"]).suite
    assert found is not None
    return found


@pytest.mark.parametrize("name", [*TABLES, *OTHERS])
def test_a_table_stands_on_2000_test_prompts_and_on_weights_that_ship(name: str) -> None:
    found = read(name)
    assert (found.prompt_set, found.n, found.seeds) == ("shapes/test", 2000, (0,))
    named = {c.weights for c in found.contestants if c.weights}
    assert {weights.removeprefix("shapes/") for weights in named} <= set(NAMES)
    assert all(weights.startswith("shapes/") for weights in named)
    assert set(found.metrics) <= set(found.margins), "every margin is declared"


def names(name: str) -> set[str]:
    return {row.name for row in read(name).rows}


def test_rows() -> None:
    four = {f"{m}-{n}step" for m in ("lcm", "tcd", "lightning", "hyper_sd") for n in (1, 2, 4, 8)}
    assert four | {"teacher-25step", "hyper_sd_unified-1step"} < names("shapes_table2")
    assert {f"{m}-{n}step" for m in ("tcd", "tscd", "tcd_feedback", "tscd_feedback")
            for n in (2, 4, 8)} | {"dmd-1step"} < names("shapes_table3")  # fmt: skip
    assert {f"hyper_sd_unified-{n}step" for n in (1, 2, 4, 8)} < names("shapes_table4")
    assert {"dmd-1step", "tcd_dmd-1step", "tscd_dmd-1step"} < names("shapes_table5")


def test_per_step_methods_take_other_weights_at_each_step() -> None:
    rows = {row.name: row.settings for row in read("shapes_table2").rows}
    for method in ("lightning", "hyper_sd"):
        assert len({rows[f"{method}-{n}step"].weights for n in (1, 2, 4, 8)}) == 4
        assert rows[f"{method}-1step"].source == "unet"
    assert rows["hyper_sd-1step"].sampling.timesteps == (800,)


def test_one_table_has_one_sampler() -> None:
    rows = [row for row in read("shapes_same_sampler").rows if row.settings.method != "teacher"]
    assert {row.settings.sampling for row in rows} == {Sampling("ddim", spacing="trailing")}
    assert all(row.settings.source == "lora" for row in rows)


def asked() -> set[tuple[str, str, str, str, int | None]]:
    """The claims that the issue names, as (a, relation, b, metric, steps)."""
    better, kept = "better", "not_worse"
    found = {("hyper_sd", better, rival, metric, n)
             for rival in ("lcm", "tcd", "lightning") for metric in HELD_OUT for n in (1, 2, 4, 8)
             }  # fmt: skip
    found |= {("hyper_sd", better, "lightning", "aesthetic", 1)}
    found |= {("hyper_sd_unified", better, "lightning_lora", m, 1) for m in ("clip", "aesthetic")}
    found |= {("tscd", better, "tcd", metric, n) for metric in HELD_OUT for n in (2, 4)}
    for method in ("tcd", "tscd"):
        for n in (2, 4, 8):
            found.add((f"{method}_feedback", better, method, "aesthetic", n))
            found.add((f"{method}_feedback", kept, method, "clip", n))
    found |= {("tscd_dmd", better, b, m, 1) for b in ("dmd", "tcd_dmd") for m in HELD_OUT}
    found |= {("hyper_sd_unified", kept, "hyper_sd", "clip", n) for n in (2, 4, 8)}
    return found | {("hyper_sd", kept, "tcd", m, n) for m in ("fid", "diversity") for n in (1, 8)}


def made(found: suite.Suite, claim: Stated) -> set[tuple[str, str, str, str, int | None]]:
    """A claim at every step count at which both sides have rows."""
    sides = [
        {row.steps for row in found.rows if row.settings.method == name}
        for name in (claim.a, claim.b)
    ]
    steps = {claim.steps} if claim.steps else sides[0] & sides[1]
    assert claim.b == "teacher" or (steps and all(steps <= side for side in sides)), claim
    return {(claim.a, claim.relation, claim.b, claim.metric, n) for n in steps}


def test_together_the_tables_make_every_claim() -> None:
    claims: list[tuple[str, str, str, str, int | None]] = []
    for name in TABLES:
        found = read(name)
        for claim in found.claims:
            claims += made(found, claim)
    assert asked() <= set(claims)
    assert len(claims) == len(set(claims)), "no claim is the source of two verdicts"


def test_weights_that_are_not_shipped_are_named_in_a_line_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("hypersd.shapes.weights.FOLDER", tmp_path)
    for name, recipe in (("lightning_4step", "shapes_lightning"), ("pcm", "shapes_pcm")):
        with pytest.raises(Exception, match=rf"recipe={recipe} && .*ship {name}$"):
            files.weights_path(f"shapes/{name}")
