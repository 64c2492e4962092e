"""The suite that further trainings are scored by: what the tables draw, from a seed's weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.suite import suite as suites
from bench.suite.compose import compose
from benchmarks.trainings import SUITES, suite_of


def suite(name: str) -> suites.Suite:
    return suites.read(name, compose(name, []))


def test_every_row_of_the_tables_that_has_weights_of_a_seed(tmp_path: Path) -> None:
    for name in ("tcd.seed1", "tcd.seed2", "hyper_sd_2step.seed1", "lightning_unet.seed1"):
        (tmp_path / name).mkdir()
    made = suites.read("seed1", suite_of(1, tmp_path))
    table = {row.name: row.settings for name in SUITES for row in suite(name).rows}
    assert {row.name for row in made.rows} == {
        *(f"tcd-{steps}step" for steps in (1, 2, 4, 8)), "hyper_sd-2step", "lightning-1step",
    }  # fmt: skip
    for row in made.rows:
        shipped = table[row.name]
        assert row.settings.sampling == shipped.sampling and row.settings.source == shipped.source
        name = str(shipped.weights).removeprefix("shapes/")
        assert row.settings.weights == str(tmp_path / f"{name}.seed1")
    assert made.repeats == suite("shapes_table2").repeats


def test_a_seed_without_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights of seed 7; make them with: "):
        suite_of(7, tmp_path)
