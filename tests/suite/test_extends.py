"""A suite over another, and what a command line says of metrics: lists and mappings of either."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cli
from bench.errors import UsageError
from bench.suite.suite import Suite

ALL = ("fid", "fid_teacher", "clip", "aesthetic", "hps", "image_reward", "pick")


def extended(folder: Path, text: str, *words: str) -> Suite:
    (folder / "mine.yaml").write_text(f"extends: sdxl_1step\n{text}\n")
    found = cli.read([f"suite={folder}/mine.yaml", *words]).suite
    assert found is not None
    return found


def test_a_mapping_of_metrics_over_a_list_sets_what_it_says(tmp_path: Path) -> None:
    found = extended(tmp_path, "metrics: {clip: {model: ViT-g-14}, kid: {}}")
    assert found.metrics == (*ALL, "kid")
    assert found.metric_settings["clip"] == {"model": "ViT-g-14"}


def test_a_list_over_a_mapping_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("extends: sdxl_1step\nmetrics: {clip: {model: ViT-g-14}}")
    (tmp_path / "mine.yaml").write_text(f"extends: {tmp_path}/below.yaml\nmetrics: [pick, clip]")
    found = cli.read([f"suite={tmp_path}/mine.yaml"]).suite
    assert found is not None and set(found.metrics) == {"pick", "clip"}
    assert found.metric_settings["clip"] == {"model": "ViT-g-14"}


@pytest.mark.parametrize("first", [True, False])
def test_a_setting_beside_a_list_of_metrics(first: bool) -> None:
    words = ["metrics.aesthetic.head=head.pth", "metrics=[clip, aesthetic]"]
    found = cli.read(["suite=sdxl_1step", *(words if first else reversed(words))]).suite
    assert found is not None and found.metrics == ("clip", "aesthetic")
    assert found.metric_settings["aesthetic"] == {"head": "head.pth"}


def test_one_value_replaces_a_list(tmp_path: Path) -> None:
    assert extended(tmp_path, "steps: 4").steps == (4,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: {1: 2}", "steps is no mapping in the suite that it extends"),
        ("prompts: mine.txt", "prompts is a mapping in the suite that it extends"),
        ("contestants: [lcm]", "contestants is a mapping in the suite that it extends"),
        ("contestants: {hyper_sd: {at: [1]}}", "contestants.hyper_sd.at is a mapping"),
        ("metrics: pick", "metrics"),
    ],
)
def test_what_does_not_fit_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")) as error:
        extended(tmp_path, text)
    assert "\n" not in str(error.value)
