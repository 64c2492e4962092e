"""Whole runs in this process: with tiny models and cheap judges."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.results.entries import read_entry
from bench.run import worker
from tests.support.outcomes import pixels

Bench = Callable[..., int]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_a_run_leaves_a_result_and_a_report(bench: Bench, world: Path) -> None:
    assert bench("out=run") == 0
    found = result(world / "run")
    assert found["suite"] == "tiny" and found["limit"] is None
    assert [c["name"] for c in found["contestants"]] == ["lcm-1step", "lcm-2step", "real"]
    lcm, _, real = found["contestants"]
    assert (lcm["method"], lcm["steps"], lcm["nfe"], lcm["n"]) == ("lcm", 1, 1, 30)
    assert (real["steps"], real["nfe"], real["seconds_per_image"]) == (None, None, None)
    speed = lcm["seconds_per_image"]
    assert speed["batch"] == 20
    stages = ("text", "unet", "vae", "rest")
    assert speed["median"] == pytest.approx(sum(speed[stage] for stage in stages), rel=0.5)
    assert all(speed[stage] > 0 for stage in stages)
    assert lcm["seconds_alone"]["batch"] == 1 and lcm["seconds_alone"]["unet"] > 0
    assert real["seconds_alone"] is None
    assert (world / "run/report.html").stat().st_size > 1000
    assert (world / "run/images/real/00000.png").is_file()
    lines = (world / "run/prompts.jsonl").read_text().splitlines()
    assert len(lines) == 30 and json.loads(lines[7])["index"] == 7


def test_the_same_command_makes_nothing_again(bench: Bench, world: Path, seen: list[int]) -> None:
    assert bench("out=run") == 0
    first = result(world / "run")
    seen.clear()
    assert bench("out=run") == 0
    assert seen == []
    again = result(world / "run")
    for one, other in zip(first["contestants"], again["contestants"], strict=True):
        assert one == {**other, "peak_memory_bytes": one["peak_memory_bytes"]}


def test_a_slice_of_another_suite_is_not_made_again(
    bench: Bench, world: Path, seen: list[int]
) -> None:
    """One step alone is a slice of [1, 2]: the images have the same keys."""
    assert bench("out=both") == 0
    seen.clear()
    assert bench("steps=[1]", "out=one") == 0
    assert seen == []


def test_a_resumed_run_equals_an_uninterrupted_one(
    bench: Bench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the second contestant's slice, after batches of 7."""
    assert bench("cache=whole", "out=a", "batch=7") == 0
    drawn, calls = worker.draw_batch, []

    def stopped(source: Any, keys: Any) -> Any:
        calls.append(len(keys))
        if len(calls) == 7:
            raise KeyboardInterrupt
        return drawn(source, keys)

    monkeypatch.setattr("bench.run.worker.draw_batch", stopped)
    assert bench("cache=pieces", "out=b", "batch=7") == 130
    assert len(pixels(world / "pieces")) == 2
    assert bench("cache=pieces", "out=b", "batch=7") == 0
    assert calls[7:] == [7, 7, 6, 7, 3, 7, 7, 6, 7, 3]  # the broken slice whole, and the rest
    assert pixels(world / "pieces") == pixels(world / "whole")
    metrics = [[c["metrics"] for c in result(world / f)["contestants"]] for f in ("a", "b")]
    assert metrics[0] == metrics[1]


def test_another_batch_size_differs_by_rounding_at_most(bench: Bench, world: Path) -> None:
    assert bench("cache=a", "out=a", "steps=[2]") == 0
    assert bench("cache=b", "out=b", "steps=[2]", "batch=7") == 0
    for path in sorted((world / "a/images").rglob("*.safetensors")):
        one = read_entry(path).arrays["images"].astype(int)
        other = read_entry(world / "b" / path.relative_to(world / "a")).arrays["images"]
        assert np.abs(one - other).max() <= 1


def test_limit_is_marked_and_draws_no_more_than_is_asked(bench: Bench, world: Path) -> None:
    """Slices that a whole run has left are used as they are."""

    def sizes() -> list[int]:
        files = (world / "runs/cache/images").rglob("*.safetensors")
        return sorted(len(read_entry(path).arrays["images"]) for path in files)

    assert bench("limit=12", "out=quick") == 0
    found = result(world / "quick")
    assert found["limit"] == 12
    assert {c["n"] for c in found["contestants"]} == {12}
    assert sizes() == [12] * len(found["contestants"])
    assert bench("out=whole") == 0
    made = sizes()
    assert bench("limit=14", "out=quicker") == 0
    assert sizes() == made


def test_damage_is_noticed_named_and_repaired(bench: Bench, world: Path) -> None:
    assert bench("out=run") == 0
    before = pixels(world / "runs/cache")
    for path in (world / "runs/cache/features").rglob("*.safetensors"):
        path.unlink()
    victim = next((world / "runs/cache/images").rglob("*.safetensors"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    assert bench("out=run") == 0
    damaged = result(world / "run")["ledger"]["damaged_and_made_again"]
    assert len(damaged) == 1 and victim.name in damaged[0] and "checksum" in damaged[0]
    assert pixels(world / "runs/cache") == before


def test_a_folder_holds_one_run(bench: Bench, world: Path, capsys: Any) -> None:
    assert bench("out=run", "limit=20") == 0
    before = result(world / "run")
    assert bench("out=run", "limit=30") == 2
    assert "another protocol" in capsys.readouterr().err
    (world / "other.yaml").write_text((world / "tiny.yaml").read_text())
    assert bench("suite=other.yaml", "out=run", "limit=20") == 2
    assert "holds a run of suite 'tiny'" in capsys.readouterr().err
    assert bench("suite=other.yaml", "out=run", "limit=20", "task=plan") == 0
    assert "missing: out=run: holds a run of suite" in capsys.readouterr().out
    assert result(world / "run") == before


def test_a_second_run_in_the_same_folder_is_refused(bench: Bench, world: Path, capsys: Any) -> None:
    from filelock import FileLock

    (world / "run").mkdir()
    with FileLock(world / "run/.lock"):
        assert bench("out=run") == 2
    assert "another run is at work" in capsys.readouterr().err


def test_a_report_is_written_again_from_the_result(bench: Bench, world: Path) -> None:
    assert bench("out=run", "limit=20") == 0
    (world / "run/report.html").unlink()
    assert bench("task=report", "run=run") == 0
    assert (world / "run/report.html").is_file()


def test_anchors_are_what_they_say(bench: Bench, world: Path) -> None:
    from hypersd.shapes.render import render
    from hypersd.shapes.scenes import sample_scene

    assert bench("out=run", "~contestants.lcm", "+contestants.shuffled_captions={}",
                 "+contestants.vae_round_trip={}") == 0  # fmt: skip
    real, shuffled, trip = (
        np.asarray(Image.open(world / f"run/images/{name}/00003.png"))
        for name in ("real", "shuffled_captions", "vae_round_trip")
    )
    expected = render(sample_scene("test", 3))
    np.testing.assert_array_equal(real, expected)
    assert (shuffled != expected).any() and (trip != expected).any()


def test_a_folder_of_images_competes(bench: Bench, world: Path) -> None:
    assert bench("out=run", "limit=10") == 0
    folder = world / "theirs"
    folder.mkdir()
    entry = next(
        read_entry(p) for p in (world / "runs/cache/images").rglob("*.safetensors")
    ).arrays["images"]
    for index in range(10):
        Image.fromarray(entry[index]).save(folder / f"{index:05d}.png")
    assert bench("out=more", "limit=10", "images=theirs") == 0
    theirs = result(world / "more")["contestants"][-1]
    assert (theirs["name"], theirs["method"], theirs["steps"]) == ("theirs", "theirs", None)
    assert (world / "more/images/theirs/00009.png").is_file()


@pytest.mark.parametrize("fault", ["missing", "unreadable", "size"])
def test_a_faulty_folder_of_images_is_refused(
    bench: Bench, world: Path, capsys: Any, fault: str
) -> None:
    folder = world / "theirs"
    folder.mkdir()
    for index in range(10):
        Image.new("RGB", (64, 64)).save(folder / f"{index:05d}.png")
    fourth = folder / "00004.png"
    if fault == "missing":
        fourth.unlink()
    elif fault == "unreadable":
        fourth.write_bytes(fourth.read_bytes()[:60])
    else:
        Image.new("RGB", (32, 64)).save(fourth)
    assert bench("limit=10", "images=theirs") == 2
    error = capsys.readouterr().err
    assert "00004" in error and error.count("\n") == 1


def test_black_images_are_named_and_change_the_exit_code(bench: Bench, world: Path) -> None:
    folder = world / "theirs"
    folder.mkdir()
    for index in range(12):
        Image.new("RGB", (64, 64), (0, 0, 0) if index == 6 else (90, 9, 9)).save(
            folder / f"{index:05d}.png"
        )
    assert bench("limit=10", "images=theirs", "out=run") == 4
    ledger = result(world / "run")["ledger"]
    assert ledger["black"] == ["theirs: prompt 6, seed 0"]
    counts = ledger["by_contestant"]
    assert counts["theirs"] == {"images": 10, "not_scored": 0, "dropped": 2, "black": 1,
                                "not_finite": 0, "prompts_cut": 0, "pictures": 10}  # fmt: skip
    assert not any(counts["lcm-1step"][what] for what in ("dropped", "black", "not_scored"))


def test_shipped_rows_are_used_only_where_identities_match(
    bench: Bench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.run.shipped.FOLDER", world / "shipped")
    words = ("+contestants.teacher={steps: [3]}", "steps=[1]")
    assert bench(*words, "out=first", "export=shipped") == 0
    paths = sorted(p.stem for p in (world / "shipped").rglob("*.safetensors"))
    assert paths == ["real", "teacher-3step"]
    first = {c["name"]: c for c in result(world / "first")["contestants"]}
    assert bench(*words, "out=second", "cache=fresh") == 0
    second = {c["name"]: c for c in result(world / "second")["contestants"]}
    assert [second[n]["precomputed"] for n in ("lcm-1step", "teacher-3step", "real")] == [
        False, True, True]  # fmt: skip
    assert second["teacher-3step"]["metrics"] == first["teacher-3step"]["metrics"]
    assert second["teacher-3step"]["seconds_per_image"]["batch"] == 24
    assert len(list((world / "second/images/teacher-3step").iterdir())) == 24
    assert bench(*words, "out=third", "cache=fresh", "contestants.teacher.guidance=5") == 0
    third = {c["name"]: c for c in result(world / "third")["contestants"]}
    assert [third[n]["precomputed"] for n in ("teacher-3step", "real")] == [False, True]
    assert bench(*words, "out=fourth", "cache=fresh", "precomputed=false") == 0
    fourth = {c["name"]: c for c in result(world / "fourth")["contestants"]}
    assert not any(c["precomputed"] for c in fourth.values())
    assert fourth["real"]["metrics"] == first["real"]["metrics"]


def test_prompts_from_a_file(bench: Bench, world: Path) -> None:
    """Without scenes there are no anchors; that is said, not an error."""
    (world / "mine.tsv").write_text("id\tcaption\n1\ta cat\n2\ta dog, running\n3\ta red circle\n")
    assert bench("prompts.set=mine.tsv", "prompts.n=null", "out=run") == 0
    found = result(world / "run")
    assert [c["name"] for c in found["contestants"]] == ["lcm-1step", "lcm-2step"]
    assert found["contestants"][0]["n"] == 3
    assert any("real" in note for note in found["ledger"]["left_out"])


def test_truncated_prompts_are_named(bench: Bench, world: Path) -> None:
    (world / "mine.txt").write_text("a red circle\n" + "a big blue star and " * 9 + "\n")
    assert bench("prompts.set=mine.txt", "prompts.n=2", "steps=[1]", "out=run") == 0
    cut = result(world / "run")["ledger"]["truncated_prompts"]
    assert cut == ["lcm-1step: prompt 1, seed 0"]


def test_a_recipe_is_trained_once_and_reused(
    bench: Bench, world: Path, tiny_lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(recipe: Any, out: Path, *, device: str) -> Path:
        trained.append((recipe.name, device))
        shutil.copytree(tiny_lora, out / "final")
        facts = {"images_seen": 480, "seconds": 9.5, "hardware": "a test", "unet_forwards": 3}
        (out / "final/training.json").write_text(json.dumps(facts))
        (out / "final/README.md").write_text("# card\nLicence: Apache-2.0. Data: none.\n")
        return out / "final"

    monkeypatch.setattr("hypersd.loop.train", train)
    words = ("+contestants.mine={recipe: shapes_lcm_quick}", "steps=[1,2]")
    assert bench(*words, "out=first") == 0
    assert bench(*words, "out=second", "limit=12") == 0
    assert trained == [("shapes_lcm_quick", "cpu")]
    found = {c["name"]: c for c in result(world / "second")["contestants"]}
    mine = found["mine-1step"]
    assert mine["training"]["images_seen"] == 480 and mine["training"]["unet_forwards"] == 3
    assert mine["licence"] == "Apache-2.0"
    assert mine["metrics"] == found["lcm-1step"]["metrics"]  # sampled as its recipe's method is


def test_every_seed_is_drawn_and_clustered_by_prompt(bench: Bench, world: Path) -> None:
    assert bench("seeds=[0,3]", "limit=12", "steps=[1]", "~contestants.real", "out=run") == 0
    lcm = result(world / "run")["contestants"][0]
    assert (lcm["n"], lcm["seeds"]) == (24, [0, 3])
    scores = read_entry(world / "run/scores/lcm-1step.safetensors").arrays
    assert scores["clip"].shape == (12,)


def test_full_weights_and_pipelines_compete(bench: Bench, world: Path, tiny_base: Path) -> None:
    """A UNet's weights, with their own config.json or the base's, and a whole pipeline: the same
    network three times."""
    shutil.copytree(tiny_base / "unet", world / "full")
    shutil.copy(tiny_base / "unet/diffusion_pytorch_model.safetensors", world / "alone.safetensors")
    assert bench(
        "~contestants.lcm", "~contestants.real", "steps=[1]", "out=run", "limit=12",
        "+contestants.a={unet: full, scheduler: base}",
        "+contestants.b={unet: alone.safetensors, scheduler: base}",
        f"+contestants.c.pipeline={tiny_base}", "+contestants.d={}",
    ) == 0  # fmt: skip
    metrics = [c["metrics"] for c in result(world / "run")["contestants"]]
    assert len(metrics) == 4 and all(m == metrics[0] for m in metrics)


def test_a_lora_is_merged_as_diffusers_applies_it(tiny_base: Path, tiny_lora: Path) -> None:
    """Merged weights draw what the pipeline draws with the adapter on, at any scale."""
    import torch
    from diffusers import StableDiffusionPipeline

    from bench.contestants import pipelines
    from bench.suite import contestant

    values = {"lora": str(tiny_lora), "base": str(tiny_base), "lora_scale": 0.6}
    mine = contestant.read("mine", values, (1,))
    merged = pipelines.pipeline(mine, tiny_lora / "pytorch_lora_weights.safetensors",
                             torch.device("cpu"))  # fmt: skip
    theirs = StableDiffusionPipeline.from_pretrained(tiny_base)
    theirs.load_lora_weights(tiny_lora, adapter_name="x")
    theirs.set_adapters("x", 0.6)
    x, text = torch.randn(2, 4, 16, 16), torch.randn(2, 24, 32)
    with torch.no_grad():
        ours, reference = (p.unet(x, 500, text).sample for p in (merged, theirs))
        plain = pipelines.base(tiny_base, torch.device("cpu")).unet(x, 500, text).sample
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    assert (plain - reference).abs().max() > 1e-3
