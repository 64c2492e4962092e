"""Suites on published checkpoints: `extends`, `at`, `like`, and what is known of each file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench import cli
from bench.contestants import files
from bench.errors import UsageError
from bench.results.hub import FOLDER as HUB_FOLDER
from bench.results.hub import PUBLISHED, licence
from bench.run import downloads, hardware
from bench.run.hardware import Disk
from bench.run.metric_identities import Evaluator
from bench.run.plan import make
from bench.suite import suite
from bench.suite.contestant import ContestantSettings, Row
from bench.suite.sampling import Sampling
from hypersd.hub import Hub
from hypersd.reference import parse

SHIPPED = HUB_FOLDER / "lock.json"
TODAYS = ("flux", "sd3", "open_licences")
SUITES = [name for name in suite.names() if not name.startswith("shapes_")]


def read(*words: str) -> suite.Suite:
    found = cli.read(list(words)).suite
    assert found is not None
    return found


def test_every_file_has_a_line_in_the_catalogue_and_a_place_in_the_lock() -> None:
    lock = json.loads(SHIPPED.read_text())
    published = yaml.safe_load(PUBLISHED.read_text())
    for name in SUITES:
        for one in read(f"suite={name}").contestants:
            for ref in files.references(one):
                named = published[ref.repo]["gb"]
                assert "licence" in published[ref.repo], ref  # null where it is not known
                assert (ref.path or "fp16") in named, ref
                assert ref.repo in lock and (not ref.path or ref.path in lock[ref.repo]["files"])


def test_the_lock_holds_nothing_or_whole_hashes() -> None:
    for repo, entry in json.loads(SHIPPED.read_text()).items():
        assert entry["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", entry["commit"]), repo
        for facts in entry["files"].values():
            assert facts["sha256"] is None or re.fullmatch(r"[0-9a-f]{64}", facts["sha256"])
            assert (facts["sha256"] is None) == (facts["size"] is None)


def _apart_from_steps(row: Row) -> tuple[ContestantSettings, int | None]:
    """One row does not know for how many others its contestant stands."""
    return replace(row.settings, steps=()), row.steps


@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_the_slices_are_the_rows_of_the_whole(family: str) -> None:
    """The same contestants and settings, so the same images in the cache."""
    whole = {row.name: row for row in read(f"suite={family}_1to8").rows}
    rows = [r for n in (1, 2, 4, 8) for r in read(f"suite={family}_{n}step").rows]
    assert {row.name for row in rows} == set(whole)
    for row in rows:
        assert _apart_from_steps(row) == _apart_from_steps(whole[row.name])


@pytest.mark.parametrize(("family", "most"), [("sdxl", 13_000), ("sd15", 7_500)])
def test_the_quick_suites_are_rows_of_the_whole_within_their_budget(
    family: str, most: int, tmp_path: Path
) -> None:
    """And need nothing but what is fetched: no teacher, no reference."""
    whole = {row.name: row for row in read(f"suite={family}_1to8").rows}
    command = cli.read([f"suite={family}_quick", f"cache={tmp_path}"])
    assert command.suite is not None
    for row in command.suite.rows:
        assert _apart_from_steps(row) == _apart_from_steps(whole[row.name])
    plan = make(command.suite, command.options, hardware.Machine(gpu=lambda: None))
    assert sum(planned.evaluations for planned in plan.rows) == most
    assert {planned.row.steps for planned in plan.rows} == {1, 4}
    assert not any("reference" in clause for clause in plan.missing)


def test_what_has_nothing_at_one_step_is_named() -> None:
    found = read("suite=sdxl_1step")
    assert found.absent == (
        "lightning_lora",
        "hyper_sd_unified",
        "hyper_sd_cfg",
        "dmd2_lora",
        "pcm",
    )
    assert [row.name for row in found.rows] == [
        "teacher-25step", "lcm-1step", "tcd-1step", "lightning-1step", "hyper_sd-1step",
        "hyper_sd_unet-1step", "turbo-1step", "dmd2-1step"]  # fmt: skip
    assert found.rows[0].nfe == 50


def test_a_users_own_model_in_three_words_or_lines(tmp_path: Path) -> None:
    mine = "contestants.mine.lora=my.safetensors"
    one = read("suite=sdxl_1step", f"+{mine}", "+contestants.mine.like=hyper_sd").contestants[-1]
    assert one.sampling == Sampling("tcd", eta=1.0) and one.precision == "fp16"
    assert one.base == "hf://stabilityai/stable-diffusion-xl-base-1.0"
    file = tmp_path / "own.yaml"
    file.write_text(
        "extends: sdxl_4step\ncontestants:\n"
        "  mine: {lora: my.safetensors, like: hyper_sd, eta: 0.2, lora_scale: 0.8}\n"
    )
    four = read(f"suite={file}").contestants[-1]
    assert four.sampling == Sampling("ddim", spacing="trailing", eta=0.2)
    assert four.lora_scale == 0.8 and four.steps == (4,)


def test_like_follows_each_number_of_steps() -> None:
    mine = "+contestants.mine={lora: my.safetensors, like: hyper_sd}"
    found = {row.name: row.settings for row in read("suite=sdxl_1to8", mine).rows}
    assert found["mine-1step"].sampling == found["hyper_sd-1step"].sampling
    assert found["mine-8step"].sampling == found["hyper_sd-8step"].sampling
    assert found["mine-1step"].sampling != found["mine-8step"].sampling


def test_one_number_of_steps_can_be_changed_alone() -> None:
    found = read("suite=sdxl_1to8", "contestants.hyper_sd.at.4.eta=0.5")
    etas = {row.name: row.settings.sampling.eta for row in found.rows}
    assert (etas["hyper_sd-4step"], etas["hyper_sd-2step"]) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("+contestants.mine.like=hyper_ds +contestants.mine.lora=x", "did you mean 'hyper_sd'?"),
        ("+contestants.mine.like=lightning_lora +contestants.mine.lora=x",
         "lightning_lora has no settings at 1 steps"),
        ("contestants.hyper_sd.steps=[3]", "has settings at 1, 2, 4, 8 only"),
        ("+contestants.mine={lora: x, at: {four: {}}}", "must be a number of steps"),
        ("+contestants.mine={lora: x, at: {1: {loar: y}}}", "did you mean 'lora'?"),
        ("precision=fp8", "valid: bf16, fp16, fp32"),
    ],
)  # fmt: skip
def test_mistakes_are_said(words: str, said: str) -> None:
    given = re.split(r" (?=\+)", words)
    with pytest.raises(UsageError, match=re.escape(said)):
        read("suite=sdxl_1step", *given)


def test_a_setting_of_a_metric_that_is_only_named() -> None:
    plain = read("suite=sdxl_1step")
    found = read("suite=sdxl_1step", "metrics.clip.model=ViT-g-14", "metrics.hps.version=v2.0")
    assert found.metrics == plain.metrics
    assert found.metric_settings["clip"] == {"model": "ViT-g-14"}
    assert found.metric_settings["hps"] == {"version": "v2.0"}
    with pytest.raises(UsageError, match="did you mean 'clip'"):
        read("suite=sdxl_1step", "metrics.clpi.model=ViT-g-14")


def test_a_contestant_of_a_size_of_its_own_is_another_one(tmp_path: Path) -> None:
    turbo = next(row for row in read("suite=sdxl_1step").rows if row.settings.key == "turbo")
    assert turbo.size(1024) == 512 and turbo.settings.base == "hf://stabilityai/sdxl-turbo"
    others = {row.size(1024) for row in read("suite=sdxl_1step").rows if row != turbo}
    assert others == {1024}


def test_days_of_a_cpu_are_hours_of_a_gpu_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("suite=sdxl_4step", "device=cpu", f"cache={tmp_path}", "task=plan")
    assert cli.main([*words]) == 0
    said = capsys.readouterr().out
    taken = r"about ([\d.]+) hours on a GPU of a data centre \(([\d.]+) days on a CPU\)"
    found = re.search(taken, said)
    assert found is not None and "hint: for a first try limit=4 steps=[4]" in said
    assert float(found[1]) * 1000 / 24 == pytest.approx(float(found[2]), rel=0.01)
    assert "first: what must be fetched or trained before" in said


def test_a_strict_plan_fails_where_something_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("task=plan", "strict=true", f"cache={tmp_path}")
    assert cli.main(["suite=sdxl_1step", "device=cpu", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"error: strict=true: \d+ missing, as the plan says", line)
    assert cli.main(["suite=shapes_1step", *words]) == 0


def test_the_metrics_networks_take_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SDXL's 6.9 GB fit into 10, with 12 more of evaluators they do not."""
    monkeypatch.setattr(Hub, "cached", lambda *words: None)
    teacher = read("suite=sdxl_1step").contestants[:1]
    machine = hardware.Machine(free=lambda path: 10_000_000_000)
    for networks, lacks in ((0, []), (12_000_000_000, ["disk: 19 GB are needed"])):
        evaluators = (Evaluator("x", ("clip",), networks, "unknown"),)
        wanted = downloads.listed(teacher, (), evaluators)
        disks = [Disk(tmp_path / "hub", wanted.bytes, "HF_HOME"), Disk(tmp_path, 0, "cache=DIR")]
        found = hardware.fit(machine, teacher, "cpu", 1024, 1, disks)
        assert [said[:22] for said in found.missing if said.startswith("disk")] == lacks


@pytest.mark.parametrize("name", TODAYS)
def test_todays_families_are_planned_without_a_network(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is to be downloaded and under which licence, where each contestant's settings were
    read, and which were not."""
    found = read(f"suite={name}")
    assert cli.main([f"suite={name}", "task=plan", "device=cpu", f"cache={tmp_path}"]) == 0
    said = capsys.readouterr().out
    for one in found.contestants:
        assert one.read_at
        assert f"settings of contestants.{one.key}, " in said
        assert one.read_at in said and one.unverified in said
        for ref in files.references(one):
            assert re.search(
                rf"^  {ref}: ([\d.]+ GB|\?), {re.escape(licence(ref) or '')}$", said, re.M
            )
    assert "not verified: " in said
    assert re.search(r"^disk: [\d.]+ GB", said, re.M)


def test_open_licences_are_apache_from_end_to_end() -> None:
    refs = [ref for one in read("suite=open_licences").contestants for ref in files.references(one)]
    assert {licence(ref) for ref in refs} == {"apache-2.0"}


def test_a_file_may_have_another_licence_than_its_repository() -> None:
    of_flux = parse("hf://ByteDance/Hyper-SD/Hyper-FLUX.1-dev-8steps-lora.safetensors")
    assert licence(of_flux) == "flux-1-dev-non-commercial-license (not verified)"
    assert licence(of_flux.file("Hyper-SDXL-1step-lora.safetensors")) == "openrail++"


@pytest.mark.parametrize("name", ["flux", "sd3"])
def test_hyper_sds_loras_on_flows_are_scaled(name: str) -> None:
    """By an eighth, as its card says: whole they ruin pictures."""
    rows = [row for row in read(f"suite={name}").rows if row.settings.key == "hyper_sd"]
    assert rows and {row.settings.lora_scale for row in rows} == {0.125}


def test_a_suite_that_extends_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "round.yaml"
    file.write_text(f"extends: {file}\n")
    with pytest.raises(UsageError, match="extends itself"):
        read(f"suite={file}")
