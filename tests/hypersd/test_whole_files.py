"""A file or folder is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hypersd.errors import UsageError
from hypersd.whole_files import claimed, folder_written_whole, written_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from hypersd.whole_files import written_whole
with written_whole(Path(sys.argv[1])) as beside:
    beside.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with written_whole(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old" and beside.parent == tmp_path
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_where_writing_fails_the_old_ones_stay(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    (folder / "inside").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(file) as beside:
        beside.with_name("gone").joinpath("new").touch()
    with pytest.raises(FileNotFoundError), folder_written_whole(folder) as beside:
        (beside / "gone" / "new").touch()
    assert names(tmp_path) == ["file", "folder"]
    assert file.read_text() == (folder / "inside").read_text() == "old"


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "folder"
    for name in ("first", "second"):
        with folder_written_whole(folder) as beside:
            (beside / name).write_text("")
        assert names(folder) == [name]
    assert names(folder.parent) == ["folder"]


def test_what_a_killed_process_had_begun_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -9 and len(names(tmp_path)) == 1
    living = tmp_path / f".b.txt.{os.getppid()}.writing"
    living.write_text("half of it")
    with written_whole(path) as beside:
        beside.write_text("whole")
    assert names(tmp_path) == [living.name, "a.txt"]


def test_what_another_machine_has_begun_stays(tmp_path: Path) -> None:
    """Its process numbers are its own: this machine cannot say who is alive there."""
    mine = written(tmp_path / "a.txt").split("-")[0]
    theirs = mine.rpartition(".")[0] + ".0123abcd-1-0.writing"
    (tmp_path / theirs).write_text("half of it")
    subprocess.run(
        [sys.executable, "-c", KILLED.replace("os.kill", "#"), tmp_path / "b"], check=True
    )
    assert names(tmp_path) == sorted([theirs, "b"])


def written(path: Path) -> str:
    """The name that a process of this machine gives what it begins; nothing is left of it."""
    with written_whole(path) as beside:
        beside.touch()
        name = beside.name
    path.unlink()
    return name


def test_threads_and_processes_that_write_one_name_do_not_meet(tmp_path: Path) -> None:
    """Before, all threads of a process wrote the same file beside."""
    file, folder = tmp_path / "file", tmp_path / "folder"

    def write(number: int) -> None:
        content = str(number) * 100_000
        with written_whole(file, synced=False) as beside:
            beside.write_text(content)
        with folder_written_whole(folder) as inside:
            (inside / "a").write_text(content)
            (inside / "b").write_text(content)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, [n % 8 for n in range(80)]))
    assert len(set(file.read_text())) == 1
    assert (folder / "a").read_text() == (folder / "b").read_text()
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_is_one_process_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(UsageError, match="another process is at work there"):
        claimed(tmp_path).__enter__()
    with claimed(tmp_path):
        pass
