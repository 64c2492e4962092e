"""Shipped rows get today's names where their pictures are the same, and are used by the suites."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.contestants import identity
from bench.results import summary
from bench.results.entries import Entry, read_entry, write_entry
from bench.run import extra_trainings, plan, restamp, shipped
from hypersd.hashes import Hashes


def planned(*words: str, cache: Path) -> Any:
    command = cli.read([*words, "device=cpu", f"cache={cache}"])
    assert command.suite is not None
    return plan.make(command.suite, command.options)


def test_a_row_of_another_name_is_named_anew_where_it_is_drawn_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "rows"
    (root / "shapes_test").mkdir(parents=True)
    real, shuffled = (root / f"shapes_test/{n}.safetensors" for n in ("real", "shuffled_captions"))
    for path in (real, shuffled):
        entry = read_entry(shipped.FOLDER / "shapes_test" / path.name)
        if path == shuffled:
            entry.arrays["shapes_clip"][3] += 0.01
        write_entry(path, Entry(entry.arrays, {**entry.record, "identity": "of yore"}))
    said = list(restamp.rows(root))
    assert [line.partition(", ")[2][:13] for line in said] == ["real: called ", "shuffled_capt"]
    assert said[1].endswith("its pictures are others; make it again")
    assert read_entry(real).record == read_entry(shipped.FOLDER / "shapes_test" / real.name).record
    assert read_entry(shuffled).record["identity"] == "of yore"
    monkeypatch.setattr(shipped, "FOLDER", root)
    rows = {one.name: one for one in planned("suite=shapes_1step", cache=tmp_path).rows}
    assert rows["real"].shipped and rows["shuffled_captions"].shipped is None


def test_a_baseline_is_named_anew_alike(tmp_path: Path) -> None:
    folder, was = tmp_path / "shapes", restamp.BASELINES / "shapes"
    shutil.copytree(was, folder)
    about = json.loads((folder / "run.json").read_bytes())
    about["contestants"]["lcm-1step"] = "of yore"
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    said = list(restamp.baseline(folder))
    assert sum("called" in line for line in said) == 1 and len(said) == 7
    assert (
        json.loads((folder / "run.json").read_bytes())["contestants"]
        == json.loads((was / "run.json").read_bytes())["contestants"]
    )
    assert summary.read(folder) == summary.read(was)


def test_what_is_shipped_is_used(tmp_path: Path) -> None:
    """All shipped rows, and every kept training of a row that is drawn from shipped weights."""
    rows = planned("suite=shapes_1step", cache=tmp_path).rows
    used = {one.name for one in rows if one.shipped is not None}
    assert used == {path.stem for path in shipped.FOLDER.rglob("*.safetensors")}
    found: dict[str, set[str]] = {}
    for number in range(2, 6):
        made = planned(f"suite=shapes_table{number}", cache=tmp_path)
        for row in (one.row for one in made.rows):
            parts = identity.parts(row, made.prompts, Hashes(tmp_path / "hashes.json"))
            assert isinstance(parts, dict) or not row.steps
            if isinstance(parts, dict):
                found.setdefault(row.name, set()).add(extra_trainings.like(parts))
    for path in (extra_trainings.FOLDER / "shapes_test").glob("*.safetensors"):
        record = read_entry(path).record
        assert record["like"] in found[record["name"]], path.name
