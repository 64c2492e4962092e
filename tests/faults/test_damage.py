"""Files that were cut, emptied or changed by a bit: noticed, named, made again, never used."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.faults import victims

Bench = Callable[..., int]
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "emptied": lambda whole: b"",
    "flipped": lambda whole: _flipped(whole, len(whole) * 2 // 3, bit=64),  # a digit to a letter
}


def _flipped(whole: bytes, place: int, bit: int = 1) -> bytes:
    return whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]


def damage(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.fixture
def finished(world: Path, undisturbed: Path) -> Path:
    """A copy of the undisturbed run, in the working directory."""
    for name in ("run", "runs"):
        shutil.copytree(undisturbed / name, world / name)
    return world


@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_run_reads_is_made_again(
    bench: Bench, finished: Path, undisturbed: Path, capsys: Any, how: str
) -> None:
    """Entries of images and features, exported weights, a picture and the result, all at once."""
    entry = lambda kind: next((finished / "runs/cache" / kind).rglob("*.safetensors"))  # noqa: E731
    victim_entries = [entry("images"), entry("features")]
    weights, picture = entry("trained"), finished / "run/images/real/00003.png"
    for path in (*victim_entries, weights, picture, finished / "run/result.json"):
        damage(path, how)
    for path in ("hashes.json", "costs.json"):
        damage(finished / "runs/cache" / path, how)
    assert bench("out=run") == 0
    said = capsys.readouterr().out
    assert f"the checksum of {weights.name} is wrong" in said
    found = victims.outcome(finished)
    named = " ".join(found.pop("damaged"))
    assert all(path.name in named for path in (*victim_entries, picture))
    assert found == {k: v for k, v in victims.outcome(undisturbed).items() if k != "damaged"}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    bench: Bench, finished: Path, undisturbed: Path, capsys: Any, how: str
) -> None:
    (training,) = (finished / "runs/cache/trained").iterdir()
    (checkpoint,) = training.glob("checkpoint-*.pt")
    shutil.rmtree(training / "final")
    damage(checkpoint, how)
    assert bench("out=run") == 0
    assert f"passing over damaged {checkpoint.relative_to(finished)}" in capsys.readouterr().out
    assert victims.outcome(finished)["weights"] == victims.outcome(undisturbed)["weights"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_result_is_never_read(
    bench: Bench, finished: Path, capsys: Any, how: str
) -> None:
    before = (finished / "run/report.html").read_bytes()
    damage(finished / "run/result.json", how)
    assert bench("task=report", "run=run") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: run/result.json: ") and error.count("\n") == 1
    assert (finished / "run/report.html").read_bytes() == before


def test_no_digit_of_a_result_can_change(finished: Path) -> None:
    """A flip that leaves JSON of the right types is what only a checksum notices. (The last of 17
    digits of a number may be another way to write the same one.)"""
    from bench.errors import UsageError
    from bench.results import summary

    path = finished / "run/result.json"
    whole, same = path.read_bytes(), summary.read(path)
    digits = [i for i, byte in enumerate(whole) if byte in b"2345"]
    noticed = 0
    for place in digits[:: max(1, len(digits) // 40)]:
        path.write_bytes(_flipped(whole, place))
        try:
            assert summary.read(path) == same, f"byte {place}"
        except UsageError as error:
            noticed += "checksum" in str(error)
    assert noticed > 20


def test_any_flipped_bit_of_a_picture_is_noticed_or_harmless(finished: Path) -> None:
    from bench.results.pictures import damage as fault

    path = finished / "run/images/real/00000.png"
    whole, pixels = path.read_bytes(), Image.open(path).tobytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(_flipped(whole, place))
        assert fault(path) is not None or Image.open(path).tobytes() == pixels, f"byte {place}"


def test_a_report_names_the_picture_that_it_leaves_out(bench: Bench, finished: Path) -> None:
    damage(finished / "run/images/real/00000.png", "flipped")
    assert bench("task=report", "run=run") == 0
    assert "images/real/00000.png: " in (finished / "run/report.html").read_text()


def test_a_checkpoint_with_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """torch.load alone reads over a quarter of these flips and gives other numbers."""
    import torch

    from hypersd import checkpoint

    module = torch.nn.Linear(8, 8)
    path = checkpoint.save(tmp_path, 3, "x", {"m": module}, {"average": [torch.arange(99.0)]})
    whole, silent = path.read_bytes(), 0
    for place in range(0, len(whole), 13):
        path.write_bytes(_flipped(whole, place))
        with contextlib.suppress(Exception):  # what torch alone notices
            silent += not _same(torch.load(path, weights_only=True), module)
        found = checkpoint.newest(tmp_path)
        assert found is None or _same(found, module), f"byte {place}"
    assert silent > 20


def _same(found: Any, module: Any) -> bool:
    import torch

    try:
        weights = found["modules"]["m"]
        same = all(torch.equal(weights[k], v) for k, v in module.state_dict().items())
        return same and torch.equal(found["extra"]["average"][0], torch.arange(99.0))
    except KeyError:
        return False


def test_a_file_with_another_files_size_and_time_is_read(tmp_path: Path) -> None:
    """`cp -p` over weights keeps both; the remembered hash must not."""
    from hypersd.hashes import Hashes

    path, memory = tmp_path / "x.safetensors", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    times = path.stat()
    first = Hashes(memory)
    before = first.file(path)
    first.remember()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Hashes(memory).file(path) != before
