"""A disk that is full, or gone: one line, nothing half, and the same command goes on afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import victims

# Bytes that no file may exceed, and the first thing that is larger, one after the other: the
# latents of the training, its checkpoints, a slice of images.
LIMITS = (10_000, 60_000, 110_000)


def said_since(folder: Path, before: int) -> str:
    return victims.said(folder)[before:]


def assert_one_line(said: str) -> None:
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in said, said


def test_every_write_that_fails_is_one_line(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for a full disk; the last run has none."""
    folder, before = furnished(tmp_path), 0
    for most in LIMITS:
        assert victims.run(folder, "out=run", most_bytes=most) == 2, victims.said(folder)
        assert_one_line(said_since(folder, before))
        assert "too large" in said_since(folder, before)
        before = len(victims.said(folder))
    assert victims.run(folder, "out=run") == 0, victims.said(folder)
    assert victims.outcome(folder) == victims.outcome(undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB: two slices of images fit, not all four."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path, small_disk: Path
) -> None:
    folder = furnished(tmp_path)
    words = (f"cache={small_disk}", "out=run", "~contestants.mine")
    assert victims.run(folder, *words) == 2
    assert_one_line(victims.said(folder))
    assert "No space left" in victims.said(folder)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert victims.run(folder, *words) == 0, victims.said(folder)
    found, expected = victims.outcome(folder)["numbers"], victims.outcome(undisturbed)["numbers"]
    assert found == [row for row in expected if row[0] != "mine-1step"]


@pytest.mark.parametrize("gone", ["run", "runs/cache"])
def test_a_folder_removed_while_running(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path, gone: str
) -> None:
    """The run ends in one line or comes through; the next one has every number right."""
    folder = furnished(tmp_path)
    process = victims.start(folder, "out=run", slowly=0.3)
    while process.is_alive() and not list(folder.glob("runs/cache/images/*/*.safetensors")):
        time.sleep(0.01)
    shutil.rmtree(folder / gone, ignore_errors=True)
    process.join(180)
    assert process.exitcode in (0, 2) and "Traceback" not in victims.said(folder)
    assert victims.run(folder, "out=run") == 0, victims.said(folder)
    assert victims.outcome(folder) == victims.outcome(undisturbed)
