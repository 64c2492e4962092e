"""Folders of pictures as people have them: read as a viewer shows them, or refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import metrics
from bench.contestants.source import Folder
from bench.errors import UsageError
from bench.results.keys import Key
from bench.run import real_references
from hypersd.shapes.captions import caption
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene
from tests.support.png import RGB_ALPHA, png

Bench = Callable[..., int]
SCENES = [sample_scene("test", index) for index in range(30)]
KEYS = [Key(index, caption(scene), 0) for index, scene in enumerate(SCENES)]


def save_all(folder: Path, numbers: Any, suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        picture = Image.new("RGB", (64, 64), (90, number, 9))
        picture.save(folder / f"{number:05d}{suffix}", suffix[1:].replace("JPG", "jpeg"))
    return folder


def as_good(folder: Path, index: int, pixels: Any) -> None:
    Image.fromarray(pixels).save(folder / f"{index:05d}.png")


def as_grey(folder: Path, index: int, pixels: Any) -> None:
    Image.fromarray(pixels).convert("L").save(folder / f"{index:05d}.png")


def as_grey_of_16_bits(folder: Path, index: int, pixels: Any) -> None:
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / f"{index:05d}.png")


def ground(pixels: Any) -> Any:
    return np.abs(pixels.astype(int) - pixels[0, 0].astype(int)).sum(-1, keepdims=True) < 30


def as_cut_out(folder: Path, index: int, pixels: Any) -> None:
    """The ground transparent, what is hidden there black."""
    hidden, alpha = np.where(ground(pixels), 0, pixels), np.where(ground(pixels), 0, 255)
    values = np.concatenate([hidden, alpha], -1)
    (folder / f"{index:05d}.PNG").write_bytes(png(values, 8, RGB_ALPHA))


def as_turned(folder: Path, index: int, pixels: Any) -> None:
    exif = Image.Exif()
    exif[0x112] = 3
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_180)
    turned.save(folder / f"{index:05d}.jpg", quality=98, exif=exif)


def test_what_looks_right_is_scored_right(tmp_path: Path) -> None:
    judge, extractor = metrics.metric("faithful"), metrics.extractor("shapes_oracle", "cpu")
    found, prompts = {}, [key.prompt for key in KEYS]
    for write in (as_good, as_grey, as_grey_of_16_bits, as_cut_out, as_turned):
        folder = tmp_path / write.__name__
        folder.mkdir()
        for index, scene in enumerate(SCENES):
            write(folder, index, np.asarray(render(scene)))
        found[write] = Folder(folder, 64)(KEYS).images
    scores = {
        write: judge.evaluate(extractor(images, prompts), prompts, range(len(KEYS))).value
        for write, images in found.items()
    }
    assert min(scores[as_good], scores[as_turned]) >= 0.95 and scores[as_cut_out] > 0.85
    on_white = [np.where(ground(pixels), 255, pixels) for pixels in found[as_good]]
    np.testing.assert_array_equal(found[as_cut_out], on_white)
    np.testing.assert_array_equal(found[as_grey], found[as_grey_of_16_bits])
    assert scores[as_grey] == scores[as_grey_of_16_bits] < 0.5
    unlike = np.abs(found[as_good].astype(int) - found[as_turned])
    assert unlike.mean() < 3


def test_what_was_done_to_pictures_is_in_the_ledger(bench: Bench, world: Path) -> None:
    folder = save_all(world / "theirs", range(11))
    (folder / "notes.txt").touch()
    Image.new("RGB", (64, 64)).save(folder / "cover.png")
    Image.new("RGB", (64, 64)).save(folder / "00012.bmp")
    for index in (3, 5, 10):
        (folder / f"{index:05d}.png").write_bytes(png(np.full((64, 64, 4), 99), 8, RGB_ALPHA))
    for out in ("run", "again"):  # the second from the cache
        assert bench("limit=10", "images=theirs", f"out={out}") == 0
        ledger = json.loads((world / out / "result.json").read_text())["ledger"]
        assert ledger["pictures"] == [
            "theirs, images=theirs: 2 of 10 pictures have transparent pixels: shown on white"
        ]
        notes = [note for note in ledger["left_out"] if note.startswith("theirs")]
        assert notes == [
            "theirs: 1 pictures beyond the prompts are not scored: 00010.png",
            "theirs: 2 pictures have no prompt's name (00000.png, .jpg, .jpeg, .webp) and are "
            "not read: 00012.bmp, cover.png",
        ]
    shown = np.asarray(Image.open(world / "run/images/theirs/00003.png"))
    assert (shown == round((99 * 99 + 255 * 156) / 255)).all()


def test_references_are_of_each_picture_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.JPG", "a.png", "c.gif", "notes.txt"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    assert [path.name for path in real_references.images(tmp_path)] == ["a.png", "b.JPG"]
    assert "1 pictures in other formats are left out: c.gif" in capsys.readouterr().out
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(UsageError, match=r"holds pictures twice: b\.JPG and b\.png"):
        real_references.images(tmp_path)


@pytest.mark.parametrize("suffix", [".PNG", ".JPG", ".jpeg", ".WEBP"])
def test_suffixes_of_either_case_are_taken(tmp_path: Path, suffix: str) -> None:
    found = Folder(save_all(tmp_path / "theirs", range(2), suffix), 64)(KEYS[:2]).images
    assert np.abs(found[1].astype(int) - [90, 1, 9]).max() <= 3


def test_any_number_of_digits_is_the_number(tmp_path: Path) -> None:
    for index, name in enumerate(("0.png", "0001.jpg", "000002.png")):
        Image.new("L", (64, 64), 50 * index).save(tmp_path / name)
    found = Folder(tmp_path, 64)(KEYS[:3]).images
    assert found.mean(axis=(1, 2, 3)).round().tolist() == [0, 50, 100]


def refused(bench: Bench, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert bench("images=theirs", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_two_pictures_of_one_prompt_are_refused(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_all(world / "theirs", range(10))
    Image.new("RGB", (64, 64)).save(folder / "4.jpg")
    error = refused(bench, capsys, "limit=10")
    assert "00004.png and 4.jpg are two pictures of one prompt" in error


def test_an_animation_is_refused_by_name(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_all(world / "theirs", range(10))
    frames = [Image.new("RGB", (64, 64), (i, 9, 9)) for i in (20, 40)]
    frames[0].save(folder / "00007.png", save_all=True, append_images=frames[1:])
    error = refused(bench, capsys, "limit=10")
    assert "00007.png has 2 frames: it is animated; valid: one still picture" in error


def test_a_folder_numbered_from_1_is_told_so(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_all(world / "theirs", range(1, 11))
    error = refused(bench, capsys, "limit=10")
    assert "1 of 10 images are missing: 00000 (" in error and "is it numbered from 1?" in error


def test_pictures_of_no_prompt_are_refused_where_all_prompts_are_asked_for(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_all(world / "theirs", range(12))
    lines = (json.dumps({"prompt": key.prompt}) for key in KEYS[:10])
    (world / "mine.jsonl").write_text("\n".join(lines) + "\n")
    words = ("prompts.set=mine.jsonl", "prompts.n=null", "metrics=[clip]")
    error = refused(bench, capsys, *words)
    assert "2 pictures belong to none of the 10 prompts: 00010.png, 00011.png" in error
    assert error.rstrip().endswith("prompts.n=10")
    assert bench("images=theirs", *words, "prompts.n=10", "out=run") == 0
