"""A remembered hash is of the file as it is, and no process forgets what another has learned."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypersd import hashes
from hypersd.errors import UsageError
from hypersd.hashes import Hashes

LEARN = """
import sys
from pathlib import Path
from hypersd import hashes
hashes.SETTLED = -(10**12)
memory, *paths = map(Path, sys.argv[1:])
for path in paths:
    known = hashes.Hashes(memory)
    known.file(path)
    known.remember()
"""
COST = """
import sys
from pathlib import Path
from bench.run import costs
cache, name = Path(sys.argv[1]), sys.argv[2]
for n in range(20):
    costs.remember(cache, f"@{name}{n}", {"unet": 1.0})
"""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old at once: tests cannot wait for them."""
    monkeypatch.setattr(hashes, "SETTLED", -(10**12))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def replaced(path: Path, content: bytes) -> None:
    """Another file under the name, with the size and time of the one before, as `cp -p` makes."""
    times = path.stat()
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    os.utime(beside, ns=(times.st_atime_ns, times.st_mtime_ns))
    beside.replace(path)


@pytest.mark.usefixtures("settled")
def test_what_is_remembered_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, memory = tmp_path / "a", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    first = Hashes(memory)
    assert first.file(path) == sha256(path)
    first.remember()
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert Hashes(memory).file(path) == sha256(path)


@pytest.mark.usefixtures("settled")
def test_another_file_of_equal_size_and_time_is_read(tmp_path: Path) -> None:
    path, memory = tmp_path / "a", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    known = Hashes(memory)
    known.file(path)
    replaced(path, b"two")
    assert known.file(path) == sha256(path)
    known.remember()
    replaced(path, b"tri")
    assert Hashes(memory).file(path) == sha256(path)


def test_a_file_that_was_written_just_now_is_not_trusted_to_its_times(tmp_path: Path) -> None:
    """Two writes within a tick of the file system's clock leave the same times."""
    path, memory = tmp_path / "a", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    known = Hashes(memory)
    known.file(path)
    known.remember()
    assert not memory.exists()


def test_a_file_that_changes_while_it_is_read_is_read_again_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "a", hashlib.file_digest
    path.write_bytes(b"one")
    times = iter(range(1, 100))

    def while_it_grows(file, name):
        found = read(file, name)
        if next(times) < growing:
            path.write_bytes(path.read_bytes() + b"more")
        return found

    monkeypatch.setattr(hashlib, "file_digest", while_it_grows)
    growing = 3
    assert Hashes().file(path) == sha256(path) and len(path.read_bytes()) == 3 + 2 * 4
    growing = 100
    with pytest.raises(UsageError, match="is being written to"):
        Hashes().file(path)


def test_processes_that_share_a_memory_keep_each_others_hashes(tmp_path: Path) -> None:
    memory, paths = tmp_path / "hashes.json", [tmp_path / str(n) for n in range(24)]
    for path in paths:
        path.write_text(path.name)
    run_all([[LEARN, memory, *paths[n::4]] for n in range(4)])
    text = memory.read_text()
    assert all(sha256(path) in text for path in paths)


def test_processes_that_measure_keep_each_others_seconds(tmp_path: Path) -> None:
    run_all([[COST, tmp_path, name] for name in "ab"])
    assert (tmp_path / "costs.json").read_text().count("unet@") == 40


def run_all(words: list[list[object]]) -> None:
    """Python processes at once; all must end well."""
    begun = [subprocess.Popen([sys.executable, "-c", *map(str, some)]) for some in words]
    assert [one.wait(60) for one in begun] == [0] * len(begun)
