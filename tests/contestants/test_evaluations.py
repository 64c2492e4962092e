"""Evaluations of the network are counted where they happen, and predicted where that can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers import StableDiffusionPipeline

from bench.contestants import schedulers
from bench.contestants.sampler import Sampler
from bench.errors import UsageError
from bench.results.entries import Entry, read_entry, write_entry
from bench.results.keys import Key
from bench.suite import contestant
from bench.suite.contestant import Row
from bench.suite.sampling import Sampling

KEYS = [Key(0, "a red circle", 0), Key(1, "a blue star", 0)]
KINDS = sorted(name for name in dir(diffusers) if name.endswith("Scheduler"))
SUITE = """
title: Own schedulers
version: 1
steps: [4]
prompts: {set: shapes/test, n: 6}
metrics: [clip]
contestants:
"""


def base_of(kind: str, tiny_base: Path, folder: Path) -> Path:
    """The tiny base with another scheduler, as its configuration is edited by hand."""
    shutil.copytree(tiny_base, folder)
    config = folder / "scheduler" / "scheduler_config.json"
    found = json.loads(config.read_text())
    own = {"_class_name": kind, "skip_prk_steps": True, "timestep_spacing": "leading"}
    config.write_text(json.dumps({**found, **own}))
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_every_scheduler_is_counted_as_a_hook_counts_it(tiny_base: Path, tmp_path: Path) -> None:
    """Guided, so that each call is two evaluations of an image."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(tiny_base)
    usual, hooked, known = pipeline.scheduler, list[int](), set[str]()

    def hook(module: Any, given: Any, output: Any) -> None:
        hooked.append(len(output[0]))

    pipeline.unet.register_forward_hook(hook)
    config = tmp_path / "scheduler" / "scheduler_config.json"
    config.parent.mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    for kind in KINDS:
        try:
            pipeline.scheduler = getattr(diffusers, kind).from_config(
                usual.config, skip_prk_steps=True
            )
            sampler = Sampler(pipeline, Sampling(guidance=3.0), 4, 64)
            hooked.clear()
            found = sampler(KEYS).unet_forwards
        except Exception:  # a scheduler of other networks; the known ones are named below
            continue
        assert found == sum(hooked) > 0, kind
        config.write_text(json.dumps({**usual.config, "_class_name": kind, "skip_prk_steps": True}))
        given = {"pipeline": str(tmp_path), "guidance": 3.0}
        predicted = schedulers.evaluations(Row(contestant.read("mine", given, (4,)), 4))
        assert predicted is not None
        if not predicted.is_estimate:
            known.add(kind)
            assert predicted.count * len(KEYS) == found, kind
    missing = (schedulers.ONCE | schedulers.TWICE | {"PNDMScheduler"}) - known
    assert missing <= {"DPMSolverSDEScheduler"}  # needs torchsde


def test_a_scheduler_of_other_networks_is_refused(tiny_base: Path) -> None:
    pipeline: Any = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UsageError, match="FlowMatchEulerDiscreteScheduler has no init_noise_sigma"):
        Sampler(pipeline, Sampling(), 4, 64)


def test_the_result_says_what_was_counted_from_the_cache_too(
    bench: Callable[..., int], tiny_base: Path, tmp_path: Path
) -> None:
    """Also where the slices of an older version lack the count: nothing is drawn again."""
    counts = {"PNDMScheduler": 5, "KDPM2DiscreteScheduler": 7}
    lines = [f"  {kind}: {{pipeline: {base_of(kind, tiny_base, tmp_path / kind)}}}"
             for kind in counts]  # fmt: skip
    (tmp_path / "own.yaml").write_text(SUITE + "\n".join(lines))

    def run(out: str) -> Any:
        assert bench("suite=own.yaml", "device=cpu", f"out={out}") == 0
        found = json.loads((tmp_path / out / "result.json").read_text())
        assert found["ledger"]["not_as_planned"] == []
        assert [one["nfe"] for one in found["contestants"]] == [*counts.values()]
        return found

    run("first")
    run("cached")
    entries = [*(tmp_path / "runs/cache").glob("images/*/*"),
               *(tmp_path / "runs/cache").glob("features/*/*")]  # fmt: skip
    for path in entries:
        entry = read_entry(path)
        assert entry.record.pop("unet_forwards") in (6 * 5, 6 * 7)
        write_entry(path, Entry(entry.arrays, entry.record))
    assert len(entries) == 4 and run("older")["seconds"]["generate"] == 0


def test_a_count_that_was_not_planned_is_in_the_ledger(
    bench: Callable[..., int], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(schedulers, "TWICE", set())  # as of a scheduler that is not known here
    folder = base_of("KDPM2DiscreteScheduler", tiny_base, tmp_path / "base")
    (tmp_path / "own.yaml").write_text(f"{SUITE}  mine: {{pipeline: {folder}}}")
    assert bench("suite=own.yaml", "device=cpu", "out=run") == 0
    assert "about 24" in capsys.readouterr().out
    found = json.loads((tmp_path / "run/result.json").read_text())
    assert found["contestants"][0]["nfe"] == 7
    line = "mine-4step: 7 network evaluations per image were counted, the plan said about 4"
    assert found["ledger"]["not_as_planned"] == [line]
