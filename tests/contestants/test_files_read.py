"""Every file that a contestant is drawn from is in its identity, by content: each of them is
changed, one after the other, and the identity must move."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import metrics
from bench.contestants import identity, source
from bench.contestants.pipelines import Networks
from bench.errors import UsageError
from bench.metrics.networks.placement import Placement
from bench.results.keys import Key
from bench.suite import contestant
from bench.suite.contestant import Row
from bench.suite.prompts import PromptSet
from hypersd.hashes import Hashes
from hypersd.shapes import weights
from tests.support.changes import changed, opened_below

PROMPTS = PromptSet("two", ("a red square", "a blue circle"))
FOR_PEOPLE = {"README.md", "training.json"}  # how it is drawn is in the settings: `drawn_with`


@pytest.fixture(scope="module")
def place(tiny_base: Path, tiny_lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a whole UNet, an adapter with its configuration, and pictures."""
    folder = tmp_path_factory.mktemp("read")
    shutil.copytree(tiny_base, folder / "base")
    shutil.copytree(tiny_base / "unet", folder / "unet")
    shutil.copytree(tiny_lora, folder / "lora")
    (folder / "lora/adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 4}))
    for name in ("unet", "lora"):
        (folder / name / "README.md").write_text("license: mit")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"pictures/{index:05d}.png")
    return folder


def row(place: Path, key: str, **given: Any) -> Row:
    values = {"base": str(place / "base"), **given}
    steps = None if "images" in given else 1
    return Row(contestant.read(key, values, (1,)), steps)


ROWS: dict[str, tuple[Callable[[Path], Row], tuple[str, ...]]] = {
    "base": (lambda p: row(p, "mine"), ("base",)),
    "pipeline": (
        lambda p: Row(contestant.read("mine", {"pipeline": str(p / "base")}, (1,)), 1), ("base",),
    ),
    "lora": (lambda p: row(p, "mine", lora=str(p / "lora")), ("base", "lora")),
    "unet": (lambda p: row(p, "mine", unet=str(p / "unet")), ("base", "unet")),
    "a file": (
        lambda p: row(p, "mine", unet=str(p / "unet/diffusion_pytorch_model.safetensors")),
        ("base", "unet"),
    ),
    "images": (
        lambda p: Row(contestant.read("mine", {"images": str(p / "pictures")}, (1,)), None),
        ("pictures",),
    ),
    "real": (lambda p: row(p, "real", images=str(p / "pictures")), ("pictures",)),
    "vae_round_trip": (
        lambda p: row(p, "vae_round_trip", images=str(p / "pictures")), ("base/vae", "pictures"),
    ),
}  # fmt: skip


def named(one: Row) -> str:
    try:
        return identity.contestant(one, PROMPTS, Hashes())
    except UsageError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("kind", ROWS)
def test_each_file_moves_the_identity(kind: str, place: Path) -> None:
    make, folders = ROWS[kind]
    before = named(make(place))
    unmoved = set()
    for path in (p for name in folders for p in (place / name).rglob("*") if p.is_file()):
        with changed(path):
            if named(make(place)) == before:
                unmoved.add(path.name)
    assert not before.startswith("refused") and unmoved <= FOR_PEOPLE
    assert named(make(place)) == before


@pytest.mark.parametrize("kind", ["a file", "lora"])
def test_nothing_else_is_opened(kind: str, place: Path) -> None:
    """What a drawing opens lies in the folders whose every file moves the identity."""
    make, folders = ROWS[kind]
    with opened_below(place) as opened:
        draw = source.load(make(place), PROMPTS, 64, None, Networks(torch.device("cpu")))
        draw([Key(0, PROMPTS.texts[0], 0)])
    assert place / "base/model_index.json" in opened
    assert all(any(path.is_relative_to(place / name) for name in folders) for path in opened)


def test_a_corrected_configuration_is_another_contestant(place: Path) -> None:
    """`attention_head_dim` changes the pictures and no byte of the weights."""
    one, config = row(place, "mine", unet=str(place / "unet")), place / "unet/config.json"
    before, content = named(one), config.read_text()
    config.write_text(content.replace('"attention_head_dim": 8', '"attention_head_dim": 4'))
    after = named(one)
    config.unlink()
    of_the_base = named(one)
    config.write_text(content)
    assert len({before, after, of_the_base}) == 3


def test_files_that_change_under_a_run_end_it(place: Path) -> None:
    one = row(place, "mine", unet=str(place / "unet"))
    was = named(one)
    identity.check_unchanged(one, PROMPTS, Hashes(), was)
    with (
        changed(place / "unet/config.json"),
        pytest.raises(UsageError, match=r"contestants\.mine: its files have changed"),
    ):
        identity.check_unchanged(one, PROMPTS, Hashes(), was)


def test_an_evaluators_tokenizer_is_the_one_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are in a metric's identity; what lies beside them must be as it was shipped."""
    shutil.copytree(weights.FOLDER / "clip", tmp_path / "clip")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    before = metrics.extractor("shapes_clip").identity
    for name in ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        with changed(tmp_path / "clip" / name), pytest.raises(UsageError, match=name):
            _ = metrics.extractor("shapes_clip").identity
    with changed(tmp_path / "clip/open_clip_model.safetensors"):
        assert metrics.extractor("shapes_clip").identity != before
    assert metrics.extractor("shapes_clip").identity == before


def network(name: str) -> str:
    try:
        return metrics.extractor(name).identity
    except UsageError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("kind", ["open_clip?model=local-dir:{0}", "pick?weights={0}"])
def test_what_lies_beside_a_networks_weights_is_in_its_identity(kind: str, tmp_path: Path) -> None:
    """A mean, a number of heads or a vocabulary changes scores and no byte of the weights."""
    shutil.copytree(weights.FOLDER / "clip", tmp_path / "clip")
    (tmp_path / "clip/config.json").write_text('{"hidden_act": "gelu"}')
    shutil.copy(tmp_path / "clip/open_clip_model.safetensors", tmp_path / "clip/model.safetensors")
    name = kind.format(tmp_path / "clip")
    found = [network(name)]
    read = ["config.json"] if kind.startswith("pick") else ["open_clip_config.json",
            "tokenizer.json", "tokenizer_config.json"]  # fmt: skip
    for other in read:
        with changed(tmp_path / "clip" / other):
            found.append(network(name))
    assert len(set(found)) == len(found)


def test_a_network_that_changes_between_plan_and_score_scores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weights.FOLDER / "features", tmp_path / "features")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr("bench.metrics.networks.base.LOADED", Placement())
    one, images = metrics.extractor("shapes_features"), np.zeros((1, 64, 64, 3), np.uint8)
    before = one.identity
    with changed(tmp_path / "features/model.safetensors"):
        assert metrics.extractor("shapes_features").identity != before
        with pytest.raises(UsageError, match="shapes_features: its files have changed"):
            one(images, ["a"])
