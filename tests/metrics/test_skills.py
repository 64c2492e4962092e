"""Prompts taken apart into atoms; skills by a judge and by the world's oracle; whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.errors import UsageError
from bench.metrics import atoms, metric
from bench.metrics.atoms import Atom, parse
from bench.metrics.skills import NAMES, Skill, asked_of_prompt, of_oracle
from bench.suite import prompts
from hypersd.shapes.captions import parse as parse_caption
from tests.support import qwen

GOLDEN = Path(__file__).parents[1] / "conformance/goldens/hpsv3.json"
# GenEval's own first prompt of each of its six tasks, and traps of its grammar (MIT).
READ = {
    "a photo of a bench": [("object", "a bench")],
    "a photo of a bench and a sports ball": [("object", "a bench"), ("object", "a sports ball")],
    "a photo of two clocks": [("object", "clocks"), ("count", "exactly two clocks, no more")],
    "a photo of a blue fire hydrant": [("object", "a fire hydrant"),
                                       ("colour", "a blue fire hydrant")],
    "a photo of a dog right of a teddy bear": [("object", "a dog"), ("object", "a teddy bear"),
                                               ("position", "a dog to the right of a teddy bear")],
    "a photo of a white banana and an orange elephant": [
        ("object", "a banana"), ("object", "an elephant"),
        ("attribution", "a white banana"), ("attribution", "an orange elephant")],
    "a photo of an orange": [("object", "an orange")],
    "a photo of a green cup and an orange": [("object", "a cup"), ("object", "an orange"),
                                             ("attribution", "a green cup")],
}  # fmt: skip


@pytest.mark.parametrize("prompt", READ)
def test_a_prompt_is_taken_apart(prompt: str) -> None:
    assert parse(prompt) == tuple(Atom(*one) for one in READ[prompt])


NOT_READ = ("", "a dog", "a photo of dogs", "a photo of a", "a photo of two dogs and a cat",
            "a photo of a dog and a cat and")  # fmt: skip


@pytest.mark.parametrize("prompt", NOT_READ)
def test_what_is_not_of_the_grammar_has_no_atoms(prompt: str) -> None:
    assert parse(prompt) is None and asked_of_prompt(prompt) == set()


def test_our_own_prompts_ask_for_each_skill_forty_times_or_more() -> None:
    texts = prompts.load("skills", None, Path("nowhere")).texts
    asked = [asked_of_prompt(text) for text in texts]
    assert len(texts) == len(set(texts)) == 200
    counts = {skill: sum(skill in one for one in asked) for skill in atoms.SKILLS}
    assert counts == {"object": 200, "count": 40, "colour": 40, "position": 40, "attribution": 40}


def test_geometric_over_a_prompt_and_arithmetic_over_atoms() -> None:
    asked = parse("a photo of a white cup and a black bowl")
    assert asked is not None
    row = dict(zip(atoms.COLUMNS, atoms.means(asked, [0.9, 0.4, 0.5, 0.1]), strict=True))
    assert row["prompt"] == pytest.approx((0.9 * 0.4 * 0.5 * 0.1) ** 0.25)
    assert (row["atoms"], row["object"], row["attribution"]) == pytest.approx((0.475, 0.65, 0.3))
    assert math.isnan(row["count"])


def test_a_skill_is_of_the_prompts_that_ask_for_it() -> None:
    nan = math.nan
    rows = np.array([[0.5, 0.6, 0.7, 0.2, nan, nan, nan], [0.4, 0.5, 0.9, nan, 0.1, nan, nan],
                     [0.3, 0.5, 0.8, 0.6, nan, nan, nan]], np.float32)  # fmt: skip
    ids = [3, 5, 8]

    def found(name: str) -> list[float]:
        result = Skill(name, "judge", "judge").evaluate(rows, [""] * 3, ids)
        return [result.value, *result.prompts.tolist()]

    assert found("skill_count") == pytest.approx([0.4, 3, 8])
    assert found("skill_colour") == pytest.approx([0.1, 5])
    assert found("skills") == pytest.approx([0.4, 3, 5, 8])
    with pytest.raises(UsageError, match="no prompt asks for it"):
        found("skill_position")


def test_the_oracles_verdicts_are_atoms() -> None:
    captions = ["a small red circle", "a large blue square left of a small green star"]
    assert all(parse_caption(text) is not None for text in captions), captions
    judged = np.array([[0, 1, 1, 0, math.nan, 1], [0, 1, 0, 1, 1, 1]])
    one, two = of_oracle(judged, captions)
    held = dict(zip(atoms.COLUMNS, two, strict=True))
    assert one[:2].tolist() == [1, 1] and np.isnan(one[-2:]).all()
    assert (held["prompt"], held["attribution"], held["position"]) == (0, 0, 1)
    assert held["atoms"] == pytest.approx(3 / 5)


def test_the_world_has_the_same_skills() -> None:
    faithful = metric("faithful")
    for name in NAMES:
        made = metric(name)
        assert made.extractor == faithful.extractor  # looked at once for all of them


SUITE = """
title: Judged
version: 1
base: hf://stabilityai/stable-diffusion-xl-base-1.0
size: 64
steps: [1]
prompts: {{set: {prompts}, n: 6}}
metrics:
  vqa: {{weights: {judge}}}
  skills: {{weights: {judge}}}
  skills_atoms: {{weights: {judge}}}
  skill_count: {{weights: {judge}}}
  skill_colour: {{weights: {judge}}}
  hpsv3: {{weights: {hpsv3}/HPSv3.safetensors, base: {hpsv3}}}
contestants:
  a: {{images: a}}
  b: {{images: b}}
"""


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working directory with two folders of pictures, small judges, and the suite's text."""
    for seed, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for index in range(6):
            picture = np.random.default_rng([seed, index]).integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{index:05d}.png")
    shapes = json.loads(GOLDEN.read_text())["hpsv3"]["shapes"]
    qwen.make_judge(tmp_path / "judge")
    qwen.make_hpsv3(tmp_path / "hpsv3", shapes)
    monkeypatch.chdir(tmp_path)
    return SUITE


def test_judges_run_in_a_suite_to_the_report(judged: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(judged.format(prompts="skills", judge="judge", hpsv3="hpsv3"))
    assert main(["suite=s.yaml", "out=run", "cache=cache", "device=cpu"]) == 0
    found = json.loads((tmp_path / "run/result.json").read_text())
    lines = (tmp_path / "run/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    held = found["contestants"][0]["metrics"]
    asked = [asked_of_prompt(text) for text in texts]
    for name, skill in (("skill_count", "count"), ("skill_colour", "colour")):
        count = sum(skill in one for one in asked)
        assert (name in held) == (count > 0) and (not count or held[name]["prompts"] == count)
    for name in ("vqa", "skills", "skills_atoms", "hpsv3"):
        assert held[name]["low"] < held[name]["value"] < held[name]["high"], name
        assert held[name]["prompts"] == 6 and held[name]["trained_on"] == "no"
    assert held["skills"]["value"] <= held["skills_atoms"]["value"]
    assert "model=judge;question=Does this figure show" in held["vqa"]["identity"]
    assert held["hpsv3"]["parts"]["sigma"] > 0
    assert {c["metric"] for c in found["comparisons"]} >= {"vqa", "skills", "hpsv3"}
    page = (tmp_path / "run/report.html").read_text()
    assert "HPSv3" in page and "Geometric by prompt" in page


def test_prompts_without_atoms_leave_the_skills_out(
    judged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a mood\n" * 6)
    (tmp_path / "s.yaml").write_text(judged.format(prompts="p.txt", judge="judge", hpsv3="hpsv3"))
    assert main(["suite=s.yaml", "task=plan", "cache=cache", "device=cpu"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "skills is left out: 'a mood' is not of the form that docs/metrics.md shows" in said
