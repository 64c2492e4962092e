"""`-m`: Hydra's multirun over whole command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.cli import main


def runs(world: Path) -> list[Any]:
    """Results of all runs in their default folders."""
    return [json.loads(path.read_text()) for path in sorted(world.glob("runs/*/result.json"))]


def test_every_combination_is_a_run_of_its_own(world: Path) -> None:
    words = ["contestants.lcm.scheduler=lcm,ddim", "steps=[1],[2]", "limit=8", "~contestants.real"]
    assert main(["-m", "suite=tiny.yaml", *words]) == 0
    found = runs(world)
    assert len(found) == 4
    assert sorted(c["name"] for one in found for c in one["contestants"]) == [
        "lcm-1step", "lcm-1step", "lcm-2step", "lcm-2step"]  # fmt: skip
    assert len({c["identity"] for one in found for c in one["contestants"]}) == 4
    assert not (world / "outputs").exists() and not (world / "multirun").exists()


def test_suites_can_be_swept_and_a_plus_adds(world: Path, tiny_lora: Path) -> None:
    (world / "other.yaml").write_text((world / "tiny.yaml").read_text())
    mine = f"+contestants.mine.lora='{tiny_lora}/pytorch_lora_weights.safetensors'"
    words = ["suite=tiny.yaml,other.yaml", mine, "+contestants.mine.like=lcm", "steps=[1]",
             "limit=8", "out='runs/${hydra:job.num}'"]  # fmt: skip
    assert main(["--multirun", *words]) == 0
    assert [json.loads((world / f"runs/{n}/result.json").read_text())["suite"]
            for n in range(2)] == ["tiny", "other"]  # fmt: skip
    assert "mine-1step" in [c["name"] for c in runs(world)[0]["contestants"]]


def test_a_job_that_fails_does_not_stop_the_others(world: Path, capsys: Any) -> None:
    words = ["contestants.lcm.scheduler=lmc,lcm", "limit=8", "steps=[1]"]
    assert main(["-m", "suite=tiny.yaml", *words]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'lcm'?" in said and "Traceback" not in said
    assert len(runs(world)) == 1
    assert main(["-m", "suite=tiny.yaml", "contestants.lmc.eta=0.1,0.2"]) == 2
    assert main(["-m", "suite"]) == 2
