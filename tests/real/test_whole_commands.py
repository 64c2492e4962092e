"""`suite=sdxl_1step` and all other suites on published checkpoints as a user types them, from an
empty cache and a hub on this machine, with small models under the official ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.hypersd.real_models import make_pictures
from tests.real import commands, evaluators, official, test_references
from tests.real.commands import (
    Done,
    Hub,
    bench,
    contents,
    result,
    sizes,
    small,
    suite_of,
    unplanned,
)
from tests.real.hub_server import serving
from tests.real.official import Files
from tests.support.outcomes import metrics, pixels

LOCK = commands.ROOT / "suites/hub/lock.json"
RECIPE = f"""
extends: sdxl_lcm_lora
base: hf://{official.SDXL}
steps: 2
batch: 2
warmup: 0
checkpoint_every: 2
data: {{folder: pictures}}
options: {{rank: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path, small_hub: dict[str, Files]) -> Path:
    """A working directory with what the small suites name: a reference, and for `sdxl_candidate`
    a recipe that is cut short, and its pictures."""
    evaluators.write_reference(tmp_path, small_hub)
    (tmp_path / "small.yaml").write_text(RECIPE)
    make_pictures(tmp_path / "pictures", count=4)
    return tmp_path


def walk(name: str, folder: Path, hub: Hub, repos: dict[str, Files]) -> None:
    """From an empty cache to the report, once more from the full one, and what follows a run."""
    line, other = f"{small(name)} cache={folder}/cache", "task=check baseline=./baseline"
    expected, plan, run, again, report, update, check = bench(
        folder, hub, f"expect {line}", f"{line} task=plan", f"{line} out=run",
        f"{line} out=again", "run=again task=report",
        f"run=run {other} update=true", f"{line} out=again {other}",
    )  # fmt: skip
    for done in (plan, run, again, report, update, check):
        assert done.code == 0, done.errors
    is_whole(name, folder / "run")
    agrees(json.loads(expected.said), run, repos, folder / "run")
    assert "0 images to make, 0 network evaluations" in again.said
    assert again.asked == report.asked == update.asked == check.asked == []
    assert result(folder / "again")["seconds"]["generate"] == 0
    assert metrics(folder / "again") == metrics(folder / "run")


def is_whole(name: str, run: Path) -> None:
    """No contestant, step or metric is missing in a result, and all that shows it is there."""
    suite, found = suite_of(small(name)), result(run)
    assert [row["name"] for row in found["contestants"]] == [row.name for row in suite.rows]
    for row in found["contestants"]:
        assert set(row["metrics"]) == set(suite.metrics), row["name"]
        assert all(value["value"] is not None for value in row["metrics"].values())
    for shown in ("report.html", "report.pdf", "tables/results.md"):
        assert (run / shown).stat().st_size > 1000


def agrees(plan: dict[str, Any], done: Done, repos: dict[str, Files], run: Path) -> None:
    """A run did what its plan had said: by byte of each repository and by evaluation of each row;
    and it fetched no file twice."""
    assert plan["missing"] == unplanned(run) == []
    planned: dict[str, int] = {}
    for source, size in plan["bytes"].items():
        repo = "/".join(source.removeprefix("hf://").split("/")[:2])
        planned[repo] = planned.get(repo, 0) + size
    assert planned == sizes(done.asked, repos)
    assert set(contents(done.asked).values()) == {1}
    counted = {row["name"]: row["nfe"] * row["n"] for row in result(run)["contestants"]}
    assert counted == plan["evaluations"]


@pytest.mark.parametrize(
    "name",
    [
        "sd15_1step",
        "sdxl_1step",
        *(pytest.param(name, marks=pytest.mark.slow)
          for name in ("sdxl_quick", "sd15_quick", "sdxl_unified", "sdxl_candidate", "flux",
                       "sd3", "open_licences")),
    ],
)  # fmt: skip
def test_from_an_empty_cache_to_the_report(
    name: str, folder: Path, small_hub: dict[str, Files]
) -> None:
    lock = LOCK.read_bytes()
    with serving(small_hub) as hub:
        walk(name, folder, hub, small_hub)
    assert LOCK.read_bytes() == lock


@pytest.mark.slow
def test_the_users_own_command_makes_its_references(
    folder: Path, small_hub: dict[str, Files]
) -> None:
    """`sdxl_1step` on its own captions, from an empty cache: photographs from their publisher, the
    teacher's pictures drawn with another seed, and no file of the user's."""
    (folder / evaluators.REFERENCE).unlink()
    test_references.write_captions(folder / "data/prompts")
    line = f"{small('sdxl_1step', made=True)} references=teacher cache={folder}/cache out=run"
    photographs = {f"val2014/{name}": {"": one} for name, one in test_references.PICTURES.items()}
    with serving(small_hub) as hub, serving(photographs) as (publisher, asked):
        words = {"BENCH_DATA": str(folder / "data"), "COCO_ENDPOINT": publisher}
        run, again = bench(folder, hub, line, f"{line} task=plan", **words)
        assert run.code == 0, run.said + run.errors
    is_whole("sdxl_1step", folder / "run")
    assert test_references.gets(asked) == sorted(test_references.NAMES)
    assert "reference to make" in run.said and "reference to make" not in again.said
    for row in result(folder / "run")["contestants"]:
        assert "reference=coco2014_5k:n=6:" in row["metrics"]["fid"]["identity"]


def test_a_full_cache_serves_a_fresh_clone_without_a_network(
    folder: Path, small_hub: dict[str, Files]
) -> None:
    """In another folder; `bench.py` as it is says so before the run."""
    line = f"{small('sd15_quick')} cache={folder}/cache out=run"
    clone = folder / "clone"
    clone.mkdir()
    shutil.copy(folder / evaluators.REFERENCE, clone)
    words = {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    with serving(small_hub) as hub:
        (run,) = bench(folder, hub, line)
        assert run.code == 0, run.said + run.errors
        plan = commands.one(clone, hub, commands.BENCH, f"{line} task=plan", **words)
        assert plan.code == 0 and hub[1] == []
        again = commands.one(clone, hub, commands.BY_ONE, line, **words)
        assert again.code == 0 and hub[1] == [], again.errors
    assert "to download from the hub: 0 of" in plan.said and "0 images to make" in plan.said
    assert "missing:" not in plan.said and "to download for the metrics" not in plan.said
    assert metrics(clone / "run") == metrics(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15_1step", "sdxl_quick"])
def test_two_processes_make_what_one_makes(
    name: str, folder: Path, small_hub: dict[str, Files]
) -> None:
    """Each from an empty cache: no file is fetched twice, pictures and values are the same."""
    one, two = folder / "one", folder / "two"
    with serving(small_hub) as hub:
        for place, by in ((one, commands.BY_ONE), (two, commands.BY_TWO)):
            place.mkdir()
            evaluators.write_reference(place, small_hub)
            run = commands.one(place, hub, by, f"{small(name)} cache=cache out=run")
            assert run.code == 0, run.said + run.errors
            assert set(contents(run.asked).values()) == {1}
    assert pixels(one / "cache") == pixels(two / "cache")
    assert metrics(one / "run") == metrics(two / "run")


def test_the_plan_says_what_is_not_given_before_anything_is_fetched(
    folder: Path, small_hub: dict[str, Files]
) -> None:
    """A gated base, an evaluator that is gone, and the folder of another suite's run."""
    repos = {name: files for name, files in small_hub.items() if name != "THUDM/ImageReward"}
    (folder / "run").mkdir()
    (folder / "run/run.json").write_text(json.dumps({"suite": "sdxl_1step"}))
    line = f"suite=sd15_1step {commands.SMALL} metrics=[image_reward,pick] out=run"
    with serving(repos, gated={official.SD15}) as hub:
        plan, run = bench(folder, hub, f"{line} task=plan", line)
    for said in (
        f"missing: hf://{official.SD15}/model_index.json: gated: accept its licence",
        "missing: hf://THUDM/ImageReward: no such repository",
        "missing: out=run: holds a run of suite 'sdxl_1step'",
        "hf://h1t/TCD-SD15-LoRA/pytorch_lora_weights.safetensors: 0.00 GB, mit",
    ):
        assert said in plan.said and said in run.said
    assert run.code == 2 and run.errors.count("error:") == 1
    assert not contents(plan.asked + run.asked)
