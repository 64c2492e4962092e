"""A contestant that is drawn otherwise than its card says is named, with what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import cli
from bench.run.settings_lint import sources, unlike_cards
from bench.suite.suite import names

HYPER = "hf://ByteDance/Hyper-SD/Hyper-SDXL-4steps-lora.safetensors"


def lines(*words: str) -> list[str]:
    found = cli.read(list(words)).suite
    assert found is not None
    return unlike_cards(found)


@pytest.mark.parametrize("name", [n for n in names() if n != "shapes_same_sampler"])
def test_shipped_suites_draw_as_cards_say(name: str) -> None:
    assert lines(f"suite={name}") == []


def test_one_sampler_for_all_is_unlike_most_cards() -> None:
    assert len(lines("suite=shapes_same_sampler")) > 1


def test_what_differs_from_a_card_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    card = {"drawn_with": {"scheduler": "tcd", "eta": 0.3, "original_steps": 40}}
    (tmp_path / "mine/training.json").write_text(json.dumps(card))
    (tmp_path / "mine/pytorch_lora_weights.safetensors").write_bytes(b"")
    mine = f"+contestants.mine.lora={tmp_path}/mine"
    assert lines("suite=shapes_4step", mine) == []
    assert lines("suite=shapes_4step", mine, "+contestants.mine.like=lcm") == [
        "contestants.mine, 4 steps: scheduler=lcm (its card: tcd), eta=0 (its card: 0.3)"
    ]
    assert lines("suite=shapes_4step", mine, "+contestants.mine.guidance=2") == [
        "contestants.mine, 4 steps: guidance=2 (its card: 1)"
    ]


def test_a_base_that_is_drawn_as_weights_that_are_not_named_is_said() -> None:
    """`like` alone makes no LCM: whoever forgot `lora` would read its row as one."""
    named = "it names no weights (lora, unet, pipeline or recipe)"
    assert lines("suite=shapes_4step", "+contestants.mine.like=lcm") == [
        f"contestants.mine, 4 steps: shapes/base itself, drawn as lcm is: {named}"
    ]
    base = "hf://stabilityai/stable-diffusion-xl-base-1.0"
    assert lines("suite=sdxl_4step", "+contestants.mine.like=hyper_sd") == [
        f"contestants.mine, 4 steps: {base} itself, drawn as hyper_sd is: {named}"
    ]
    assert lines("suite=shapes_4step", "+contestants.mine.like=teacher") == []
    plain = ("+contestants.mine.scheduler=euler", "+contestants.mine.spacing=trailing")
    assert lines("suite=sdxl_4step", *plain) == []  # asked for by name


def test_published_files_are_held_against_their_cards_settings() -> None:
    mine = f"+contestants.mine.lora={HYPER}"
    as_published = ("+contestants.mine.scheduler=ddim", "+contestants.mine.spacing=trailing")
    assert lines("suite=sdxl_4step", mine, *as_published) == []
    assert lines("suite=sdxl_4step", mine, "+contestants.mine.scheduler=lcm") == [
        "contestants.mine, 4 steps: scheduler=lcm (published: ddim), "
        "spacing=the scheduler's own (published: trailing)"
    ]


def test_a_lora_that_is_not_scaled_as_its_card_says_is_named() -> None:
    mine = (
        "+contestants.mine.lora=hf://ByteDance/Hyper-SD/Hyper-FLUX.1-dev-8steps-lora.safetensors",
        "+contestants.mine.steps=[8]",
        "+contestants.mine.like=hyper_sd",
    )
    assert lines("suite=flux", *mine, "+contestants.mine.lora_scale=0.125") == []
    assert lines("suite=flux", *mine) == [
        "contestants.mine, 8 steps: lora_scale=1 (published: 0.125)"
    ]


def test_what_a_pipeline_is_called_with_is_held_against_its_card() -> None:
    assert lines("suite=flux", "contestants.schnell.call.max_sequence_length=512") == [
        f"contestants.schnell, {n} step{'s' * (n > 1)}: call.max_sequence_length=512 "
        "(published: 256)"
        for n in (1, 2, 4)
    ]
    tdm = "contestants.tdm.scheduler_config.flow_shift=3"
    assert lines("suite=sd3", tdm) == [
        "contestants.tdm, 4 steps: scheduler_config.flow_shift=3 (published: 6)"
    ]


def test_where_settings_were_read_is_said_once_for_all_steps(tmp_path: Path) -> None:
    found = cli.read(["suite=sdxl_8step"]).suite
    assert found is not None
    (line,) = sources(found)
    assert line.startswith("contestants.hyper_sd_cfg, 8,12 steps: the card of ByteDance/Hyper-SD")
    assert "; not verified: the scheduler" in line
    file = tmp_path / "own.yaml"
    file.write_text("extends: shapes_4step\ncontestants: {tcd: {read_at: its paper}}\n")
    own = cli.read([f"suite={file}"]).suite
    assert own is not None
    assert sources(own) == ["contestants.tcd, 4 steps: its paper"]
