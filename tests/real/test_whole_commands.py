"""`suite=sd15_1step` and `suite=sdxl_1step` as a user types them, from an empty cache and a hub on
this machine, with small models under the official ids."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real import official
from tests.real.hub_server import serving

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = """
import sys
from bench.cli import main
for number, line in enumerate(sys.stdin.read().splitlines()):
    print(f"--- {number}", flush=True)
    code = main(line.split())
    print(f"exit {code}", flush=True)
"""
SMALL = "size=64 device=cpu prompts.set=own prompts.n=2 metrics=[image_reward,pick]"
MADE: dict[str, Callable[[Path], dict[str, official.Files]]] = {
    "sd15": official.sd15,
    "sdxl": official.sdxl,
}


def bench(folder: Path, address: str, *lines: str, **variables: str) -> list[str]:
    """What each command line says, one after the other in a process of its own: the hub's client
    reads its settings once."""
    names = {**os.environ, "HF_HOME": str(folder / "home"), "HF_ENDPOINT": address,
             "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT), **variables}  # fmt: skip
    names.pop("HF_ASSETS_CACHE", None)
    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=folder, env=names, check=True,
                          input="\n".join(lines), capture_output=True, text=True)  # fmt: skip
    said = [part.split("\n", 1)[1] for part in done.stdout.split("--- ")[1:]]
    assert len(said) == len(lines), done.stderr
    return [*said, done.stderr]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_from_an_empty_cache_to_the_report(family: str, tmp_path: Path) -> None:
    """Cold, then warm without a question to the hub, then without a network and from another
    folder, as from a fresh clone."""
    turbo = " contestants.turbo.size=64" if family == "sdxl" else ""
    line = f"suite={family}_1step {SMALL}{turbo} cache={tmp_path}/cache"
    repos = MADE[family](tmp_path / "made") | official.evaluators(tmp_path / "made")
    with serving(repos) as (address, asked):
        plan, run, errors = bench(tmp_path, address, f"{line} task=plan", f"{line} out=run")
        assert "exit 0" in run, errors
        assert "missing:" not in plan and "to download for the metrics: 4 files" in plan
        assert not any("safety_checker/" in one or "README" in one for one in asked)
        asked.clear()
        again, _ = bench(tmp_path, address, f"{line} task=plan")
        assert asked == []
    lock = (ROOT / "suites/hub/lock.json").read_bytes()
    (tmp_path / "clone").mkdir()
    words = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    for said in (again, bench(tmp_path / "clone", address, f"{line} task=plan", **words)[0]):
        assert "to download from the hub: 0 of" in said and "0 images to make" in said
        assert "missing:" not in said and "to download for the metrics" not in said
    assert (ROOT / "suites/hub/lock.json").read_bytes() == lock
    rows = json.loads((tmp_path / "run/result.json").read_text())["contestants"]
    assert len(rows) == {"sd15": 4, "sdxl": 8}[family]
    for row in rows:
        assert row["metrics"]["pick"]["value"] and row["metrics"]["image_reward"]["value"]


def test_the_plan_says_what_is_not_given_before_anything_is_fetched(tmp_path: Path) -> None:
    """A gated base, an evaluator that is gone, and the folder of another suite's run."""
    repos = official.sd15(tmp_path / "made") | official.evaluators(tmp_path / "made")
    del repos["THUDM/ImageReward"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps({"suite": "sdxl_1step"}))
    line = f"suite=sd15_1step {SMALL} out=run"
    with serving(repos, gated={official.SD15}) as (address, asked):
        plan, run, errors = bench(tmp_path, address, f"{line} task=plan", line)
    for said in (
        f"missing: hf://{official.SD15}/model_index.json: gated: accept its licence",
        "missing: hf://THUDM/ImageReward: no such repository",
        "missing: out=run: holds a run of suite 'sdxl_1step'",
        "hf://h1t/TCD-SD15-LoRA/pytorch_lora_weights.safetensors: 0.00 GB, mit",
    ):
        assert said in plan and said in run
    assert "exit 2" in run and errors.count("error:") == 1
    assert not any(one.startswith("GET") and "/resolve/" in one for one in asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl_quick", "sd15_quick", "sdxl_unified", "sdxl_smoke"])
def test_other_suites_from_an_empty_cache(name: str, tmp_path: Path) -> None:
    family = name.split("_")[0]
    turbo = " contestants.turbo.size=64 ~contestants.pcm" if name == "sdxl_smoke" else ""
    repos = MADE[family](tmp_path / "made") | official.evaluators(tmp_path / "made")
    with serving(repos) as (address, _):
        said, errors = bench(tmp_path, address, f"suite={name} {SMALL}{turbo} out=run")
    assert "exit 0" in said, errors
    for row in json.loads((tmp_path / "run/result.json").read_text())["contestants"]:
        assert row["metrics"]["pick"]["value"]
