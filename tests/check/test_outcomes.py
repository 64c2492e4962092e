"""The three outcomes of a check, and what it must catch and let pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.check.made_runs import Made, drawn, texts

Check = Callable[..., tuple[int, str, str]]
Outcomes = Callable[[Path], Mapping[tuple[str, str], str]]
Write = Callable[..., Path]


def changed(made: Made, **pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The run's pictures with those of some contestants (`lcm`, `tcd`) replaced."""
    return {**made.pictures, **{f"{name}-1step": p for name, p in pictures.items()}}


def test_the_same_run_passes(made: Made, write_run: Write, check: Check) -> None:
    base = write_run("base", made)
    code, said, _ = check(write_run("run", made), base)
    assert code == 0
    assert "pass: tiny against" in said and "regress" not in said


def test_worse_pictures_regress_and_say_on_what(
    made: Made, write_run: Write, check: Check, outcomes: Outcomes
) -> None:
    base = write_run("base", made)
    worse = changed(made, lcm=drawn(made.prompts, noise=0.35))
    run = write_run("run", made, pictures=worse, identities={"lcm-1step": "another"})
    code, said, _ = check(run, base)
    found = outcomes(run)
    assert code == 1
    assert found["lcm-1step", "clip"] == found["lcm-1step", "faithful"] == "regress"
    assert found["tcd-1step", "clip"] == found["tcd-1step", "fid"] == "pass"
    assert "changed  lcm-1step: identity" in said
    assert "regress      lcm-1step clip: worse by" in said


def test_a_regression_is_found_among_hundreds_of_rows(write_run: Write, check: Check) -> None:
    """Of too few flips the smallest p is above 0.05 once it is adjusted, however clear the loss."""
    prompts, names = texts(60), [f"method{i}-1step" for i in range(180)]
    made = Made(prompts, {name: drawn(prompts) for name in names}, shown=0)
    base = write_run("base", made)
    run = write_run("run", made, pictures={**made.pictures, names[0]: drawn(prompts, noise=1.0)})
    assert check(run, base)[0] == 1
    rows = json.loads((run / "check/check.json").read_text())["verdicts"]
    regressed = {(row["contestant"], row["subject"]) for row in rows if row["outcome"] == "regress"}
    assert regressed >= {(names[0], "clip"), (names[0], "faithful")}


def test_captions_given_to_the_wrong_pictures_regress(
    made: Made, write_run: Write, check: Check, outcomes: Outcomes
) -> None:
    """The set of pictures is the same, so the distance does not see it; the pairs do."""
    base = write_run("base", made)
    shifted = np.roll(made.pictures["lcm-1step"], 1, axis=0)
    run = write_run("run", made, pictures=changed(made, lcm=shifted))
    assert check(run, base)[0] == 1
    found = outcomes(run)
    assert found["lcm-1step", "clip"] == found["lcm-1step", "faithful"] == "regress"
    assert found["lcm-1step", "fid"] != "regress"


def test_stronger_pictures_regress_on_the_distance_alone(
    made: Made, write_run: Write, check: Check, outcomes: Outcomes
) -> None:
    """A cosine does not see a scale, the distance does."""
    base = write_run("base", made)
    run = write_run("run", made, pictures=changed(made, lcm=1.3 * made.pictures["lcm-1step"]))
    assert check(run, base)[0] == 1
    found = outcomes(run)
    assert (found["lcm-1step", "fid"], found["lcm-1step", "clip"]) == ("regress", "pass")


def test_another_draw_of_few_prompts_is_inconclusive_and_more_would_decide(
    write_run: Write, check: Check
) -> None:
    prompts = texts(40)
    made = Made(prompts, {"lcm-1step": drawn(prompts)})
    base = write_run("base", made)
    run = write_run("run", made, pictures={"lcm-1step": drawn(prompts, noise=0.26, seed=5)})
    code, said, _ = check(run, base)
    assert code == 3
    assert "would decide" in said
    rows = json.loads((run / "check/check.json").read_text())["verdicts"]
    needed = [row["needed"] for row in rows if row["outcome"] == "inconclusive"]
    assert needed and all(n is None or n > 40 for n in needed)


def test_the_number_of_prompts_that_would_decide_decides(write_run: Write, check: Check) -> None:
    """At half a margin of loss; the prompts that the first check asks for give a verdict."""
    small = texts(60)
    margins = {"seeds": [0], "size": 64, "margins": {"clip": 3.0, "fid": "90%", "faithful": 0.9}}

    def pair(prompts: list[str], name: str) -> tuple[int, list[dict[str, Any]]]:
        made = Made(prompts, {"lcm-1step": drawn(prompts)}, resolved=margins)
        worse = {"lcm-1step": drawn(prompts, noise=0.265, seed=5)}
        run = write_run(f"{name}-run", made, pictures=worse)
        code, _, _ = check(run, write_run(f"{name}-base", made))
        return code, json.loads((run / "check/check.json").read_text())["verdicts"]

    code, rows = pair(small, "small")
    assert code == 3
    needed = max(row["needed"] or 0 for row in rows)
    assert 60 < needed < 5_000
    assert pair(texts(2 * needed), "large")[0] == 0


def test_another_order_of_the_prompts_passes(made: Made, write_run: Write, check: Check) -> None:
    """Prompts are matched by their text; another order has another protocol string."""
    base = write_run("base", made)
    order = np.random.default_rng(0).permutation(len(made.prompts))
    run = write_run(
        "run", made,
        prompts=[made.prompts[i] for i in order],
        pictures={name: p[order] for name, p in reversed(made.pictures.items())},
        protocol="another",
    )  # fmt: skip
    code, said, _ = check(run, base)
    assert code == 0, said


def test_rounding_as_by_another_batch_size_passes(
    made: Made, write_run: Write, check: Check
) -> None:
    base = write_run("base", made)
    moved = {name: p + np.float32(1e-4) * drawn(made.prompts, seed=8)
             for name, p in made.pictures.items()}  # fmt: skip
    other = {**made.environment, "batch": 7, "commit": f"{'43c29be4' * 5}+changes"}
    run = write_run("run", made, pictures=moved, environment=other)
    code, said, _ = check(run, base)
    assert code == 0, said
    told = json.loads((run / "check/check.json").read_text())["environment"]
    assert "commit 43c29be -> 43c29be4+changes" in told
    assert "skipped" not in said or "another" in said


def test_few_prompts_pass_where_the_pictures_are_the_same(write_run: Write, check: Check) -> None:
    """Twenty prompts cannot rule out a loss of 2 % of them, were they other pictures."""
    made = Made(texts(20), {"lcm-1step": drawn(texts(20))})
    base = write_run("base", made)
    assert check(write_run("run", made), base)[0] == 0
    other = write_run("other", made, pictures={"lcm-1step": drawn(texts(20), seed=3)})
    assert check(other, base)[0] == 3


def test_slower_and_larger_have_limits_of_their_own(
    made: Made, write_run: Write, check: Check, outcomes: Outcomes
) -> None:
    base = write_run("base", made)
    slower = write_run("slower", made, seconds=0.02)
    assert check(slower, base)[0] == 1
    assert outcomes(slower)["lcm-1step", "seconds per image"] == "regress"
    assert check(write_run("a little", made, seconds=0.012), base)[0] == 0
    larger = write_run("larger", made, memory=1300)
    assert check(larger, base)[0] == 1
    assert outcomes(larger)["lcm-1step", "memory"] == "regress"
    allowed = {**made.resolved, "limits": {"seconds": None, "memory": "40%"}}
    free = write_run("free", made, seconds=0.09, memory=1300, resolved=allowed)
    assert check(free, base)[0] == 0


def test_speed_of_another_machine_is_not_compared(
    made: Made, write_run: Write, check: Check, outcomes: Outcomes
) -> None:
    base = write_run("base", made)
    there = {**made.environment, "hardware": "64 cores"}
    run = write_run("run", made, seconds=0.09, environment=there)
    assert check(run, base)[0] == 0
    assert outcomes(run)["lcm-1step", "seconds per image"] == "skipped"


def test_new_black_pictures_regress(made: Made, write_run: Write, check: Check) -> None:
    base = write_run("base", made, ledger={"black": ["lcm-1step: prompt 3, seed 0"]})
    same = write_run("same", made, ledger={"black": ["lcm-1step: prompt 3, seed 0"]})
    assert check(same, base)[0] == 0
    more = [f"lcm-1step: prompt {i}, seed 0" for i in (3, 4)]
    code, said, _ = check(write_run("more", made, ledger={"black": more}), base)
    assert code == 1 and "broken images: black or not finite: 1 -> 2" in said


def test_a_contestant_that_is_gone_is_inconclusive_and_a_new_one_is_named(
    made: Made, write_run: Write, check: Check
) -> None:
    base = write_run("base", made)
    pictures = {"lcm-1step": made.pictures["lcm-1step"], "mine-1step": drawn(made.prompts, seed=4)}
    code, said, _ = check(write_run("run", made, pictures=pictures), base)
    assert code == 3
    assert "tcd-1step contestant: missing in this run" in said
    assert "new      mine-1step" in said


def test_what_changed_in_a_contestant_is_named(made: Made, write_run: Write, check: Check) -> None:
    old = {"sampling": {"eta": 0.3, "guidance": 1.0}, "weights": ["lora", "a" * 64]}
    new = {"sampling": {"eta": 0.0, "guidance": 1.0}, "weights": ["lora", "b" * 64]}
    base = write_run("base", made, parts={"lcm-1step": old})
    run = write_run("run", made, parts={"lcm-1step": new}, identities={"lcm-1step": "another"})
    _, said, _ = check(run, base)
    line = next(line for line in said.splitlines() if line.startswith("changed"))
    assert (
        line
        == "changed  lcm-1step: sampling.eta 0.3 -> 0.0; weights lora aaaaaaaa -> lora bbbbbbbb"
    )


def test_other_pictures_of_an_unchanged_contestant_are_named(
    made: Made, write_run: Write, check: Check
) -> None:
    base = write_run("base", made)
    run = write_run("run", made, pictures=changed(made, lcm=drawn(made.prompts, seed=6)))
    _, said, _ = check(run, base)
    assert "changed  lcm-1step: settings and weights are the same, but its pictures differ" in said
    assert "changed  tcd-1step" not in said


def test_junit_counts_what_the_check_says(made: Made, write_run: Write, check: Check) -> None:
    base = write_run("base", made)
    worse = changed(made, lcm=drawn(made.prompts, noise=0.35))
    run = write_run("run", made, pictures=worse)
    check(run, base)
    root = ElementTree.parse(run / "check/junit.xml").getroot()
    rows = json.loads((run / "check/check.json").read_text())["verdicts"]
    held = [row["outcome"] for row in rows]
    assert int(root.attrib["tests"]) == len(root.findall(".//testcase")) == len(held)
    assert int(root.attrib["failures"]) == len(root.findall(".//failure")) == held.count("regress")
    failure = root.find(".//testcase[@name='clip']/failure")
    assert failure is not None and "worse by" in failure.attrib["message"]


def test_the_summary_has_the_worst_prompts_before_and_after(
    made: Made, write_run: Write, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [*made.prompts[:3], "a <script>|`x`|</script> [thing](http://x)", *made.prompts[4:]]
    made = replace(made, prompts=prompts, pictures={"lcm-1step": drawn(prompts)})
    base = write_run("base", made)
    run = write_run("run", made, pictures={"lcm-1step": drawn(prompts, noise=0.5)})
    steps = tmp_path / "steps.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(steps))
    check(run, base, "pictures=https://pictures.example/run/7")
    beside, published = (run / "check/summary.md").read_text(), steps.read_text()
    assert "Worst prompts of lcm-1step, by clip" in beside
    sources = [part.split('"')[0] for part in beside.split('<img src="')[1:]]
    assert len(sources) == 12
    assert all((run / "check" / source).is_file() for source in sources)
    assert 'src="https://pictures.example/run/7/lcm-1step/' in published
    assert "<script>" not in beside + published and "](http" not in beside + published


def test_the_summary_says_that_pictures_were_not_kept(
    made: Made, write_run: Write, check: Check
) -> None:
    base = write_run("base", made)
    run = write_run("run", made, pictures=changed(made, lcm=drawn(made.prompts, noise=0.5)))
    shutil.rmtree(run / "images")
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "pictures": "none"}))
    check(run, base, "pictures=none")
    said = (run / "check/summary.md").read_text()
    assert "Worst prompts of lcm-1step" in said
    assert (
        said.count("The run kept no pictures (pictures=none); its command with pictures=all") == 1
    )


def test_without_an_address_the_step_summary_says_where_the_pictures_are(
    made: Made, write_run: Write, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_run("base", made)
    run = write_run("run", made, pictures=changed(made, lcm=drawn(made.prompts, noise=0.5)))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "steps.md"))
    check(run, base)
    said = (tmp_path / "steps.md").read_text()
    assert "<img" not in said and "check/pictures" in said
