"""What users have in place of a file is named, with what would be valid, in one line."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from bench.contestants.card import Card
from bench.metrics import references
from bench.results import summary
from bench.results.entries import read_entry
from bench.suite import prompt_files
from bench.suite.contestant import ContestantSettings
from bench.suite.sampling import Sampling
from hypersd import bases, picture_reader, plain_yaml, shards, tensor_files
from hypersd.captioned import captioned
from hypersd.errors import FileError, UsageError, in_a_line
from hypersd.hub_lock import Lock
from hypersd.reference import Reference
from hypersd.rewards.tensors import tensors
from hypersd.shapes.weights import weights_path


def zipped(name: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(name, "held")
    return held.getvalue()


def written_by(write: Callable[[io.BytesIO], None]) -> bytes:
    held = io.BytesIO()
    write(held)
    return held.getvalue()


def entry(path: Path) -> object:
    try:
        return read_entry(path)
    except ValueError as error:
        raise FileError(str(error)) from None


STATE = {"a.weight": torch.ones(2)}
STORED = save(STATE)
PICKLED = written_by(lambda file: torch.save(STATE, file))
OLD = written_by(lambda file: torch.save(STATE, file, _use_new_zipfile_serialization=False))
PNG = written_by(lambda file: Image.new("RGB", (2, 2)).save(file, "PNG"))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
COMMON = {
    "is a pointer of git-lfs; valid: the file itself, by `git lfs pull`": POINTER,
    "is a web page; valid: the file that it leads to": PAGE,
    "is empty; valid: a ": b"",
}
EVERYWHERE = {**COMMON, "is a zip archive; valid: a ": zipped("a.safetensors")}
OF_WEIGHTS = {
    **EVERYWHERE,
    "begins with nothing but zeros": bytes(2000),
    "is a JSON text": b'{"error": "Entry not found"}',
    "is a text": b"Entry not found",
    "is a picture": PNG,
    "is a file of NumPy's": zipped("mu.npy"),
}
SAFETENSORS = {
    **OF_WEIGHTS,
    "is a PyTorch file; valid: it under a name that ends in .bin, .pt": PICKLED,
    "valid: it under a name that ends in .bin": OLD,
    f"damaged: has {len(STORED) - 3} bytes of the {len(STORED)}": STORED[:-3],
    "is damaged or cut off": STORED[:20],
}
PICKLES = {
    **OF_WEIGHTS,
    "is a safetensors file; valid: it under a name that ends in .safetensors": STORED,
    "damaged, or holds more than tensors": PICKLED[:-30],
}


def refused(path: Path, read: Callable[[Path], object], content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises((UsageError, FileError)) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(("said", "content"), SAFETENSORS.items(), ids=[*SAFETENSORS])
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, said: str, content: bytes) -> None:
    assert said in refused(tmp_path / "x.safetensors", tensor_files.read, content)


@pytest.mark.parametrize(("said", "content"), PICKLES.items(), ids=[*PICKLES])
@pytest.mark.parametrize("suffix", [".bin", ".ckpt"])
def test_what_is_no_pickle_is_named(tmp_path: Path, said: str, content: bytes, suffix: str) -> None:
    assert said in refused(tmp_path / f"x{suffix}", tensor_files.read, content)


@pytest.mark.parametrize(("said", "content"), EVERYWHERE.items(), ids=[*EVERYWHERE])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x.safetensors", tensors),
        ("x.pth", tensors),
        ("x.safetensors", references.read),
        ("result.json", summary.read),
        ("x.safetensors", entry),
        ("x.npz", references.read),
        ("x.png", lambda path: picture_reader.read(path)),
        ("x.yaml", lambda path: plain_yaml.load(path, str(path))),
        ("x.txt", prompt_files.read),
        ("x.csv", prompt_files.read),
        ("x.jsonl", prompt_files.read),
    ],
)
def test_no_reader_lets_it_through(
    tmp_path: Path, name: str, read: Callable[[Path], object], said: str, content: bytes
) -> None:
    if content or not name.endswith((".txt", ".csv", ".jsonl")):
        assert said in refused(tmp_path / name, read, content)


@pytest.mark.parametrize(("said", "content"), COMMON.items(), ids=[*COMMON])
def test_a_shard_and_a_lock_say_it_too(tmp_path: Path, said: str, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    assert next(shards.samples(tmp_path / "x.tar")).fault.startswith(said)
    lock = Lock(tmp_path / "lock.json")
    assert said in refused(lock.path, lambda _: lock.commit(Reference("a/b")), content)
    assert "restore it, or delete it" in refused(lock.path, lambda _: lock.read(), b'{"a/b": []}')


def test_a_folder_that_is_not_loaded_names_its_file(tmp_path: Path) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "unet/config.json").write_text("{}")
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").write_bytes(POINTER)
    with pytest.raises(UsageError, match=r"unet/diffusion_pytorch_model.safetensors is a pointer"):
        bases.load(tmp_path, torch.float32, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: b: c\n", "is no YAML at line 1, column 5 (mapping values are not allowed"),
        (b"a:\n\t- b\n", "is no YAML at line 2, column 1"),
        (b"a: caf\xe9\n", "not UTF-8 (byte 6, line 1); save it as UTF-8"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    read = lambda path: plain_yaml.load(path, "suite=x")  # noqa: E731
    assert f"suite=x: {said}" in refused(tmp_path / "x.yaml", read, content)


def test_texts_and_arrays_that_look_like_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("<head> of a cat\n[a dog]\nversion 2 of a house\n")
    assert len(prompt_files.read(tmp_path / "p.txt")) == 3
    (tmp_path / "u.txt").write_bytes("a cat\n".encode("utf-16"))
    assert prompt_files.read(tmp_path / "u.txt") == ["a cat"]
    np.savez(tmp_path / "x.npz", mu=np.zeros(2), sigma=np.eye(2))
    assert references.read(tmp_path / "x.npz").n == 0


def test_an_error_of_the_system_says_which_file_and_what_would_be_valid(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(UsageError, match=r"x\.txt: Is a directory; valid: a file, not a folder"):
        prompt_files.read(tmp_path / "x.txt")
    full = OSError(28, os.strerror(28), "runs/x")
    assert in_a_line(full) == "runs/x: No space left on device; valid: a disk with room left"
    assert in_a_line(OSError("a library's\nown words")) == "a library's own words"


@pytest.mark.parametrize(
    ("mu", "sigma", "said"),
    [
        ([0.0, np.nan], np.eye(2), "not finite"),
        ([0.0, 1j], np.eye(2), "holds complex128"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "no covariance"),
        ([0.0, 0.0], -np.eye(2), "no covariance"),
        (["0", "0"], np.eye(2), "holds <U1"),
    ],
)
def test_statistics_that_are_none_are_refused(
    tmp_path: Path, mu: object, sigma: object, said: str
) -> None:
    np.savez(tmp_path / "x.npz", mu=np.array(mu), sigma=np.array(sigma))
    with pytest.raises(UsageError, match=said):
        references.read(tmp_path / "x.npz")


@pytest.mark.parametrize("count", ['"abc"', "null", "[1]", "1e999", "NaN", "-1", "true"])
@pytest.mark.parametrize("key", ["images_seen", "images_seen_before"])
def test_a_card_of_no_counts_states_no_cost(tmp_path: Path, key: str, count: str) -> None:
    counts = {"images_seen": "8", "seconds": "2", key: count}
    facts = ", ".join(f'"{name}": {value}' for name, value in counts.items())
    (tmp_path / "training.json").write_text(f"{{{facts}}}")
    settings = ContestantSettings(
        "x", "lcm", "lora", str(tmp_path), "shapes/base", (4,), Sampling("lcm")
    )
    assert Card(settings).training is None


def test_a_caption_that_is_a_pointer_is_a_fault() -> None:
    assert captioned("a", PNG, {".txt": POINTER}).fault.startswith(".txt: is a pointer of git-lfs")


@pytest.mark.parametrize("left", [{}, {"vocab.json": "{}", "merges.txt": ""}])
def test_a_tokenizer_without_its_files_is_refused(tmp_path: Path, left: dict[str, str]) -> None:
    """transformers makes one of two tokens."""
    base = tmp_path / "base"
    shutil.copytree(weights_path("base"), base)
    shutil.rmtree(base / "tokenizer")
    (base / "tokenizer").mkdir()
    for name, text in left.items():
        (base / "tokenizer" / name).write_text(text)
    with pytest.raises(UsageError, match="its tokenizer knows 2 tokens, its text encoder 266; "):
        bases.load(base, torch.float32, None)
