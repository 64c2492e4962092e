"""Suites, contestants' settings and their identities."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cli
from bench.contestants import files, identity
from bench.contestants.source import without_fixed_points
from bench.errors import UsageError
from bench.suite import contestant, prompts, suite
from bench.suite.contestant import Row
from bench.suite.sampling import Sampling
from hypersd.hashes import Hashes

Bench = Callable[..., int]
STUDENTS = ("lcm", "tcd", "tscd", "lightning", "hyper_sd")
PROMPTS = prompts.PromptSet("shapes/test", ("a", "b"), "test")


def read(*words: str, name: str = "shapes_1step") -> suite.Suite:
    found = cli.read([f"suite={name}", *words]).suite
    assert found is not None
    return found


@pytest.mark.parametrize("name", suite.names())
def test_shipped_suites_are_valid(name: str) -> None:
    found = cli.read([f"suite={name}"]).suite
    assert found is not None and found.rows


def test_rows_of_the_suite_of_all_steps() -> None:
    found = cli.read(["suite=shapes_1to8"]).suite
    assert found is not None
    names = [row.name for row in found.rows]
    assert names[0] == "teacher-25step" and names[-3:] == list(contestant.ANCHORS)
    assert {f"{m}-{n}step" for m in STUDENTS for n in (1, 2, 4, 8)} < set(names)
    assert found.rows[0].nfe == 50 and found.rows[1].nfe == 1


def test_overrides_reach_every_key() -> None:
    found = read("prompts.n=500", "steps=[2,4]", "contestants.tcd.eta=0.5", "~contestants.lcm",
                 "+contestants.mine.lora=a=b(c),d.safetensors", "+contestants.mine.like=tcd",
                 "margins.clip=0.2", "title=Another title", name="shapes_1to8")  # fmt: skip
    by_key = {c.key: c for c in found.contestants}
    assert (found.n, found.steps, found.margins["clip"]) == (500, (2, 4), 0.2)
    assert found.title == "Another title"
    assert "lcm" not in by_key and by_key["tcd"].sampling.eta == 0.5
    assert by_key["mine"].weights == "a=b(c),d.safetensors"
    assert by_key["mine"].sampling == Sampling("tcd", eta=0.3, original_steps=40)


def test_like_copies_a_methods_sampling() -> None:
    lcm = contestant.read("mine", {"lora": "x", "like": "lcm", "guidance": 2.0}, (1,))
    assert lcm.sampling == Sampling("lcm", guidance=2.0, original_steps=40)
    assert lcm.method == "mine"
    plain = contestant.read("mine", {"lora": "x"}, (1,))
    assert plain.sampling == Sampling()


def test_timesteps_need_a_scheduler_that_takes_them_and_as_many_steps() -> None:
    with pytest.raises(UsageError, match="takes them"):
        contestant.read("mine", {"lora": "x", "timesteps": [999]}, (1,))
    with pytest.raises(UsageError, match="steps=2"):
        contestant.read("mine", {"lora": "x", "like": "tcd", "timesteps": [999, 499]}, (1,))


def _identity(values: dict[str, Any], steps: int, tmp_path: Path) -> str:
    row = Row(contestant.read("mine", values, (steps,)), steps)
    return identity.contestant(row, PROMPTS, Hashes(tmp_path / "hashes.json"))


def test_identity_is_of_contents_not_of_places(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    """A copy of the weights is the same contestant; any setting or byte makes another."""
    values = {"lora": str(tiny_lora), "base": str(tiny_base), "like": "lcm"}
    first = _identity(values, 1, tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_lora, copy)
    assert _identity({**values, "lora": str(copy)}, 1, tmp_path) == first
    file = copy / files.LORA_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    others = [
        _identity({**values, "lora": str(copy)}, 1, tmp_path),
        _identity(values, 2, tmp_path),
        _identity({**values, "eta": 0.1}, 1, tmp_path),
        _identity({**values, "guidance": 2.0}, 1, tmp_path),
        _identity({**values, "lora_scale": 0.5}, 1, tmp_path),
        _identity({"base": str(tiny_base), "like": "lcm"}, 1, tmp_path),
    ]
    assert len({first, *others}) == len(others) + 1


def test_a_cut_off_weights_file_is_refused(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_lora, copy)
    file = copy / files.LORA_FILE
    file.write_bytes(file.read_bytes()[:-10])
    values = {"lora": str(copy), "base": str(tiny_base), "like": "lcm"}
    with pytest.raises(UsageError, match="damaged"):
        _identity(values, 1, tmp_path)
    file.write_bytes(b"<html>")
    with pytest.raises(UsageError, match="is a web page; valid: "):
        _identity(values, 1, tmp_path)


def test_all_that_is_missing_is_said_at_once(bench: Bench, capsys: Any) -> None:
    words = ("+contestants.a.lora=nowhere", "+contestants.b.unet=nothing")
    assert bench(*words, "task=plan") == 0
    plan = capsys.readouterr().out
    assert plan.count("missing: ") == 2 and "run folder" in plan
    assert bench(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nowhere" in error and "nothing" in error


def test_damaged_weights_lose_nothing(
    bench: Bench, world: Path, tiny_lora: Path, capsys: Any
) -> None:
    assert bench("out=run") == 0
    (world / "bad").mkdir()
    (world / "bad" / files.LORA_FILE).write_bytes(b"\x00" * 100)
    assert bench("contestants.lcm.lora=bad", "out=run") == 2
    assert "damaged" in capsys.readouterr().err
    assert (world / "run/result.json").is_file()


def test_a_lora_of_another_network_is_refused(bench: Bench, world: Path, capsys: Any) -> None:
    import torch
    from safetensors.torch import save_file

    name = "unet.nowhere.attn1.to_q.lora_{}.weight"
    save_file({name.format("A"): torch.zeros(4, 8), name.format("B"): torch.zeros(8, 4)},
              world / "other.safetensors")  # fmt: skip
    assert bench("contestants.lcm.lora=other.safetensors") == 2
    error = capsys.readouterr().err
    assert "other.safetensors: cannot be loaded" in error and error.count("\n") == 1


@pytest.mark.parametrize("n", [2, 3, 100])
def test_shuffled_captions_never_keep_their_picture(n: int) -> None:
    order = without_fixed_points(n)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()


def test_prompt_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffeins\n zwei \n\n".encode())
    (tmp_path / "a.tsv").write_text('id\tprompt\n1\t"eins"\n2\tzwei\n')
    (tmp_path / "a.jsonl").write_text('{"text": "eins"}\n{"caption": "zwei"}\n\n')
    assert prompts.load(str(tmp_path / "a.txt"), None, tmp_path).texts == ("eins", "zwei")
    assert prompts.load(str(tmp_path / "a.tsv"), None, tmp_path).texts == ("eins", "zwei")
    assert prompts.load(str(tmp_path / "a.jsonl"), 2, tmp_path).texts == ("eins", "zwei")
    with pytest.raises(UsageError, match="only 2 prompts"):
        prompts.load(str(tmp_path / "a.txt"), 3, tmp_path)
    (tmp_path / "b.tsv").write_text("id\twords\n1\teins\n")
    with pytest.raises(UsageError, match="no column"):
        prompts.load(str(tmp_path / "b.tsv"), None, tmp_path)
    (tmp_path / "b.jsonl").write_text("{oops\n")
    with pytest.raises(UsageError, match="line 1 is not"):
        prompts.load(str(tmp_path / "b.jsonl"), None, tmp_path)


def test_a_suite_may_stand_on_another_base_of_the_world() -> None:
    """Its metrics are the world's, but for those whose reference is of the first base; a method's
    name says nothing of how a flow is drawn."""
    given: dict[str, Any] = {
        "title": "Mine", "version": 1, "base": "shapes/flow", "steps": [4],
        "prompts": {"set": "shapes/test", "n": 4}, "seeds": [0], "metrics": ["fid", "faithful"],
        "contestants": {"tcd": {"lora": "mine", "scheduler": "flow_euler"}, "real": {}},
    }  # fmt: skip
    found = suite.read("mine", given)
    assert not found.published
    assert {one.base for one in found.contestants} == {"shapes/flow"}
    (tcd, _) = found.contestants
    assert (tcd.sampling, tcd.own.guidance) == (Sampling(scheduler="flow_euler"), None)
    with pytest.raises(UsageError, match="fid_teacher: its reference is of shapes/base, not of sh"):
        suite.read("mine", given | {"metrics": ["fid_teacher"]})


def test_a_flows_student_is_drawn_as_its_card_says(tmp_path: Path) -> None:
    drawn = {"scheduler": "flow_lcm", "spacing": "trailing"}
    (tmp_path / "training.json").write_text(json.dumps({"drawn_with": drawn}), encoding="utf-8")
    values = {"pipeline": "a flow's", "lora": str(tmp_path)}
    found = contestant.read("mine", values, (4,))
    assert (found.sampling.scheduler, found.sampling.spacing) == ("flow_lcm", "trailing")
    assert found.own.guidance == 1.0
    assert contestant.read("mine", values | {"guidance": 2.0}, (4,)).own.guidance == 2.0
