"""The pictures of whole runs on every published contestant, against a plain diffusers script as the
model's card writes it (tests.real.cards), on the same files of the same hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from bench.suite import prompts
from tests.real import commands, evaluators
from tests.real.commands import Hub, bench, result, small, suite_of
from tests.real.hub_server import serving
from tests.real.official import Files

FP32 = "precision=fp32"
SUITES = {
    "sdxl": ["sdxl_1to8", "sdxl_unified"],
    "sd15": ["sd15_1to8"],
    "flux": ["flux"],
    "sd3": ["sd3"],
    "open_licences": ["open_licences"],
}
SLICED = ("sdxl", "sd15")  # by steps, in suites of their own
TWICE = {"hyper_sd_unified-1step"}  # of a card; suites have it as hyper_sd-1step
SLICES = ("1step", "2step", "4step", "8step", "quick", "smoke")

pytestmark = pytest.mark.slow


class Whole(NamedTuple):
    """The family whose suites ran, where, and the hub."""

    family: str
    folder: Path
    hub: Hub


@pytest.fixture(scope="module", params=sorted(SUITES))
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
    small_hub: dict[str, Files],
) -> Iterator[Whole]:  # fmt: skip
    """Every row of a family, drawn from an empty cache."""
    folder = tmp_path_factory.mktemp("cards")
    evaluators.write_reference(folder, small_hub)
    lines = [line(name, folder) for name in SUITES[request.param]]
    with serving(small_hub) as hub:
        for run in bench(folder, hub, *lines):
            assert run.code == 0, run.errors
        yield Whole(request.param, folder, hub)


def line(name: str, folder: Path) -> str:
    return f"{small(name)} {FP32} cache={folder}/cache out={name}"


def test_every_row_is_drawn_as_its_card_says(whole: Whole) -> None:
    """To 1/255, with none left out on either side."""
    drawn = whole.folder / "drawn"
    drawn.mkdir()
    texts = "\n".join(prompts.load("own", 2, drawn).texts)
    module = "cards" if whole.family in SLICED else "flow_cards"
    by = [sys.executable, "-m", f"tests.real.{module}", whole.family, str(drawn)]
    done = commands.one(
        whole.folder, whole.hub, by, "", texts, HF_HOME=str(whole.folder / "theirs")
    )
    assert done.code == 0, done.errors
    rows = {row.name: name for name in SUITES[whole.family] for row in suite_of(small(name)).rows}
    assert set(rows) == {path.stem for path in drawn.iterdir()} - TWICE
    for row, name in rows.items():
        theirs = np.load(drawn / f"{row}.npy") * 255
        paths = sorted((whole.folder / name / "images" / row).glob("*.png"))
        ours = np.stack([np.asarray(Image.open(path)) for path in paths])
        assert np.abs(ours - theirs).max() <= 1, row
        assert (theirs[0] != theirs[1]).any()


def test_the_slices_of_a_whole_suite_draw_nothing_anew(whole: Whole) -> None:
    """One, two, four and eight steps, the quick look and the smoke test."""
    if whole.family not in SLICED:
        pytest.skip("no suite is a slice of it")
    names = [f"{whole.family}_{part}" for part in SLICES]
    names = [name for name in names if (commands.ROOT / f"suites/{name}.yaml").is_file()]
    found = bench(whole.folder, whole.hub, *(line(name, whole.folder) for name in names))
    for name, run in zip(names, found, strict=True):
        assert run.code == 0 and run.asked == [], run.errors
        assert result(whole.folder / name)["seconds"]["generate"] == 0
        for row in result(whole.folder / name)["contestants"]:
            assert set(row["metrics"]) == set(suite_of(small(name)).metrics)
