"""What a candidate's training takes from the hub: in the plan, the run's own files, one time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from bench import cli
from bench.run import downloads
from bench.suite.contestant import ContestantSettings
from hypersd import base, hub
from hypersd.errors import UsageError
from hypersd.hub import Hub
from hypersd.hub_lock import Lock
from hypersd.reference import Reference

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


def candidate(*words: str) -> ContestantSettings:
    found = cli.read(["suite=sdxl_candidate", *words]).suite
    assert found is not None
    return found.contestants[-1]


def test_it_stands_on_the_files_that_the_run_fetches() -> None:
    """Both from the half precision files: not 13.9 GB once more."""
    one = candidate()
    assert downloads.training_references(one) == [(Reference(SDXL), "bf16")]
    assert downloads.references([one], [one]) == [(Reference(SDXL), "bf16")]


def test_another_precision_is_another_download(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: sdxl_lcm_lora\nbase_precision: fp32\n")
    one = candidate(f"contestants.candidate.recipe={tmp_path}/mine.yaml")
    assert downloads.references([one], [one]) == [
        (Reference(SDXL), "fp16"),
        (Reference(SDXL), "fp32"),
    ]


def test_networks_that_its_options_name_are_counted() -> None:
    one = candidate("contestants.candidate.recipe=sdxl_feedback_lora")
    found = dict(downloads.training_references(one))
    for repo, path in (
        ("THUDM/ImageReward", "ImageReward.pt"),
        ("google-bert/bert-base-uncased", "vocab.txt"),
        ("openai/clip-vit-large-patch14", "model.safetensors"),  # a folder: its weights
        ("facebook/mask2former-swin-tiny-coco-instance", "model.safetensors"),
    ):
        assert Reference(repo, None, path) in found


class Asked(Hub):
    """Writes down what is fetched; there is nothing here."""

    words: ClassVar[list[object]] = []

    def file(self, ref: Reference) -> Path:
        self.words.append(ref)
        return Path(ref.path)

    def folder(self, ref: Reference, patterns: Sequence[str] = ()) -> Path:
        self.words.append(ref)
        return Path(ref.repo)

    def pipeline(self, ref: Reference, variant: str | None = None) -> Path:
        self.words.append((ref, variant))
        raise UsageError(f"{ref}: gone")


def test_a_training_fetches_through_whom_it_is_told_to(tmp_path: Path) -> None:
    asked = Asked(Lock(tmp_path / "lock.json"))
    with hub.using(asked):
        assert hub.local_file("hf://a/b@main/c/d.pt") == Path("c/d.pt")
        assert hub.local_folder("hf://a/b") == Path("a/b")
        for precision in ("bf16", "fp32"):
            with pytest.raises(UsageError, match=r"hf://a/b: gone$"):
                base.base_folder("hf://a/b", precision)
        assert base.base_folder("here/it/is", "bf16") == Path("here/it/is")
    whole = Reference("a/b")
    assert asked.words == [
        Reference("a/b", "main", "c/d.pt"), whole, (whole, "fp16"), (whole, None),
    ]  # fmt: skip
    assert not isinstance(hub._hub(), Asked)
