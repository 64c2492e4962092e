"""What a training reads is in what it is called and stamped with, by content: each file is changed,
one after the other, and the hashes must move; what has been trained on other files is not passed
off as a training on these."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.contestants import identity
from bench.suite import contestant
from hypersd import inputs, loop, sources
from hypersd.base import load_base
from hypersd.encoded import load_pictures
from hypersd.errors import UsageError
from hypersd.hashes import Hashes
from hypersd.recipe import Recipe
from tests.hypersd.real_models import make_pictures, make_sd15
from tests.support.changes import changed, opened_below

COSTS = {"training.json"}  # of what was trained before: how long it took, not what it is


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, pictures in a folder and in shards, and folders of weights."""
    folder = tmp_path_factory.mktemp("inputs")
    make_sd15(folder / "base")
    make_pictures(folder / "pictures", 4)
    (folder / "pictures/3.txt").unlink()
    (folder / "pictures/metadata.jsonl").write_text('{"file_name": "3.png", "text": "a bird"}\n')
    (folder / "shards").mkdir()
    for number in range(2):
        with tarfile.open(folder / f"shards/{number}.tar", "w") as shard:
            for suffix in (".png", ".txt"):
                shard.add(folder / f"pictures/{number}{suffix}", f"{number}{suffix}")
    for name in ("init", "head", "clip", "segmenter"):
        (folder / name).mkdir()
        for file in ("model.safetensors", "config.json", "spiece.model", "pytorch_model.bin"):
            (folder / name / file).write_text('{"width": 8}')
        (folder / name / "training.json").write_text('{"seconds": 8}')
    (folder / "vocab.txt").write_text("a\n")
    return folder


def recipe(place: Path, **given: Any) -> Recipe:
    fields = {
        "name": "mine", "method": "lcm", "steps": 2, "batch": 2, "lr": 1e-3, "trackers": [],
        "base": str(place / "base"), "data": {"folder": str(place / "pictures")},
        "options": {"guidance": 3.0, "points": 2, "rank": 2}, "prompts": ["a bird"],
    }  # fmt: skip
    return Recipe(**{**fields, **given})


def of_everything(place: Path) -> Recipe:
    """A recipe with all that recipes name by a place."""
    rewards = [
        {"kind": "image_reward", "folder": f"{place}/head", "vocabulary": f"{place}/vocab.txt"},
        {"kind": "laion", "folder": f"{place}/head/model.safetensors", "clip": f"{place}/clip"},
    ]
    options = {"init": f"{place}/init", "rewards": rewards, "segmenter": f"{place}/segmenter"}
    return recipe(place, options=options)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "dataset"])
def test_each_file_moves_the_hashes(kind: str, place: Path) -> None:
    data = str(place / {"folder": "pictures", "webdataset": "shards/*.tar"}.get(kind, "pictures"))
    one = dataclasses.replace(of_everything(place), data={kind: data})
    before = inputs.of(one, base=True)
    read = place / ("shards" if kind == "webdataset" else "pictures")
    others = ("base/unet", "base/tokenizer", "base/scheduler", "init", "head", "clip", "segmenter")
    files = [p for folder in (read, *(place / o for o in others)) for p in folder.rglob("*.*")]
    assert len(files) > 20
    for path in [*files, place / "vocab.txt", place / "base/model_index.json"]:
        with changed(path):
            moved = inputs.of(one, base=True) != before
        assert moved != (path.name in COSTS), path
    assert inputs.of(one, base=True) == before


def test_a_training_reads_nothing_else(place: Path, tmp_path: Path) -> None:
    """All that it opens lies in folders that are stamped, and what was trained on other files is
    neither passed off as a training on these nor gone on from."""
    own, out = tmp_path / "read", tmp_path / "out"
    shutil.copytree(place / "base", own / "base")
    shutil.copytree(place / "pictures", own / "pictures")
    one, caption = recipe(own, checkpoint_every=1), own / "pictures/0.txt"
    with opened_below(own) as opened:
        loop.train(one, out)
    assert {own / "base/model_index.json", caption} <= opened
    assert all(p.is_relative_to(own / "base") or p.parent == caption.parent for p in opened)
    loop.train(one, out)
    others = {"data": caption, "base": own / "base/scheduler/scheduler_config.json"}
    for what, path in others.items():
        says = f"out: the files of {what} have changed since"
        with changed(path), pytest.raises(UsageError, match=says):
            loop.train(one, out)
    shutil.rmtree(out / "final")
    with changed(caption), pytest.raises(UsageError, match="the files of data have changed"):
        loop.train(one, out)


def test_an_encoded_set_is_of_its_content(place: Path, tmp_path: Path) -> None:
    """Edited captions and pictures are encoded anew, the same ones elsewhere are not."""
    base = load_base(str(place / "base"), torch.device("cpu"))
    cache = tmp_path / "cache" / "pictures"
    pictures = tmp_path / "pictures"
    shutil.copytree(place / "pictures", pictures)
    first = load_pictures({"folder": str(place / "pictures")}, base, cache)
    assert load_pictures({"folder": str(pictures)}, base, cache).folder == first.folder
    (pictures / "0.txt").write_text("a small red circle")
    found = load_pictures({"folder": str(pictures)}, base, cache)
    assert found.captions([0]) == ["a small red circle"]
    with changed(pictures / "1.png"):
        again = load_pictures({"folder": str(pictures)}, base, cache)
    assert len({first.folder, found.folder, again.folder}) == 3


def test_pictures_that_change_while_they_are_encoded_are_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(str(place / "base"), torch.device("cpu"))
    shutil.copytree(place / "pictures", tmp_path / "set")
    encode = type(base).encode_images

    def meanwhile(self: Any, images: Any) -> Any:
        (tmp_path / "set/0.txt").write_text("another")
        return encode(self, images)

    monkeypatch.setattr(type(base), "encode_images", meanwhile)
    with pytest.raises(UsageError, match="changed while it was read"):
        load_pictures({"folder": str(tmp_path / "set")}, base, tmp_path / "cache/pictures")


def test_a_recipes_contestant_is_of_the_files_that_it_names(place: Path, tmp_path: Path) -> None:
    fields = dataclasses.asdict(of_everything(place))
    kept = ("method", "steps", "batch", "lr", "base", "data", "options")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: fields[key] for key in kept}))
    settings = contestant.read("mine", {"recipe": str(path), "like": "lcm"}, (1,))
    before = identity.training(settings, Hashes())
    for name in ("pictures/0.txt", "init/model.safetensors", "clip/config.json", "vocab.txt"):
        with changed(place / name):
            assert identity.training(settings, Hashes()) != before
    assert identity.training(settings, Hashes()) == before


def test_a_data_set_by_datasets_is_stamped(place: Path) -> None:
    pytest.importorskip("datasets")
    data = sources.read_data({"dataset": str(place / "pictures")})
    found = sources.find(data)
    assert sources.stamp(data, Hashes()) and '"train", "image", "text", null' in found.beside
