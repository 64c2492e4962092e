"""References that a run makes itself: photographs of its captions, the teacher's own pictures."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main
from bench.metrics import references
from bench.metrics.frechet import frechet
from bench.metrics.networks.inception import Inception
from bench.metrics.references import ReferenceStatistics
from bench.run import photographs
from bench.suite import prompt_sets
from bench.suite.prompt_sets import PublishedPrompts
from tests.real.hub_server import Fault, serving

PUBLISHER = "http://images.cocodataset.org/val2014"
CAPTIONS = ("a dog", "two cats", "a red bus", "a kite", "some people", "a clock")
NAMES = tuple(f"COCO_val2014_{number:012d}.jpg" for number in range(1, 7))
SIZES = ((40, 30), (30, 40), (36, 36), (40, 30), (50, 20), (40, 31))
Bench = Callable[..., tuple[int, str, str]]


def _jpeg(number: int) -> bytes:
    """A photograph of its own colour; the fourth is grey."""
    width, height = SIZES[number]
    pixels = np.random.default_rng(number).integers(0, 200, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels + np.uint8(9 * number))
    file = io.BytesIO()
    (image.convert("L") if number == 3 else image).save(file, "JPEG", quality=95)
    return file.getvalue()


PICTURES = {name: _jpeg(number) for number, name in enumerate(NAMES)}


def colours(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    """In the place of Inception: the mean colour."""
    return images.float().mean(dim=(1, 2))


def write_captions(folder: Path) -> None:
    """The captions' own file, which says where their pictures are."""
    lines = ["id\timage_id\tcaption\theight\twidth\tfile_name\tcoco_url"]
    for number, (text, name, (width, height)) in enumerate(
        zip(CAPTIONS, NAMES, SIZES, strict=True)
    ):
        lines.append(f"{number}\t{number}\t{text}\t{height}\t{width}\t{name}\t{PUBLISHER}/{name}")
    folder.mkdir(parents=True)
    (folder / "captions_source.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(
    tiny_sdxl: Path, sdxl_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with tiny.yaml on a coco2014_5k of six captions, whose pictures are
    nowhere yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("hypersd.hub_client.PAUSES", (0.0, 0.0))
    monkeypatch.setattr("bench.results.keys.SLICE", 2)
    monkeypatch.setattr("bench.report.write.write", lambda *words: None)  # takes most of the time
    monkeypatch.setattr(Inception, "build", lambda self, device: colours)
    small = PublishedPrompts(("captions_source.tsv",), n=len(CAPTIONS))
    monkeypatch.setitem(prompt_sets.SOURCES, "coco2014_5k", small)
    write_captions(tmp_path / "data/prompts")
    (tmp_path / "w.pth").write_bytes(b"weights")
    (tmp_path / "tiny.yaml").write_text(f"""
title: Tiny
version: 1
base: {tiny_sdxl}
size: 64
steps: [1]
prompts: {{set: coco2014_5k, n: 5}}
metrics:
  fid: {{weights: {tmp_path}/w.pth}}
  kid: {{weights: {tmp_path}/w.pth}}
  fid_teacher: {{weights: {tmp_path}/w.pth}}
contestants:
  teacher: {{steps: [2], guidance: 3}}
  mine: {{lora: {sdxl_files}/peft.safetensors, scheduler: lcm}}
""")
    return tmp_path


@pytest.fixture
def bench(folder: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    """A command line: its exit code, what it says, what it says is wrong."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["suite=tiny.yaml", "device=cpu", f"cache={folder / 'cache'}", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@contextmanager
def publisher(
    monkeypatch: pytest.MonkeyPatch, faults: list[Fault] | None = None, **others: bytes | None
) -> Iterator[list[str]]:
    """What is asked of a server of the pictures, some of which are others, or None: not there."""
    given = {**PICTURES, **{f"{name}.jpg": content for name, content in others.items()}}
    files = {f"val2014/{n}": {"": content} for n, content in given.items() if content is not None}
    with serving(files, faults=faults) as (address, asked):
        monkeypatch.setenv("COCO_ENDPOINT", address)
        yield asked


def gets(asked: list[str]) -> list[str]:
    """The names of the pictures that were fetched."""
    return sorted(line.rsplit("/", 1)[1] for line in asked if line.startswith("GET"))


def values(run: Path) -> dict[str, Any]:
    """By row and metric."""
    rows = json.loads((run / "result.json").read_text())["contestants"]
    return {row["name"]: row["metrics"] for row in rows}


def test_a_run_fetches_the_pictures_of_its_captions_once_and_is_held_against_them(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All six of the set, though five prompts are drawn; KID shares the features, another run and
    another machine's protocol the reference; without a network, too."""
    with publisher(monkeypatch) as asked:
        code, plan, _ = bench("task=plan")
        assert code == 0 and gets(asked) == []
        assert "6 of 6 pictures of coco2014_5k, about 0.00 GB (0 here already)" in plan
        assert "Flickr's terms of use" in plan and "CC BY 4.0" in plan
        assert "reference to make: coco2014_5k for fid, kid (inception-clean), 6 pictures" in plan
        code, said, errors = bench("out=run")
        assert code == 0, errors
        assert gets(asked) == sorted(NAMES)
        asked.clear()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        code, said, _ = bench("prompts.n=4", "out=four")
        assert code == 0 and asked == [] and "reference to make" not in said
    assert len(list((folder / "data/references/coco2014_5k").glob("*.safetensors"))) == 1
    photographs = [
        np.array(Image.open(io.BytesIO(one)).convert("RGB")) for one in PICTURES.values()
    ]
    means = np.stack([one.reshape(-1, 3).mean(axis=0) for one in photographs])
    drawn = np.stack([np.array(Image.open(folder / f"run/images/mine-1step/{i:05d}.png"))
                      for i in range(5)]).reshape(5, -1, 3).mean(axis=1)  # fmt: skip
    reference = ReferenceStatistics.of(means.astype(np.float32), name="", extractor="")
    found = values(folder / "run")["mine-1step"]
    assert found["fid"]["value"] == pytest.approx(frechet(drawn, reference)[0], rel=1e-4)
    assert set(found) == {"fid", "kid"}
    assert found["fid"]["identity"] == values(folder / "four")["mine-1step"]["fid"]["identity"]
    assert "reference=coco2014_5k:n=6:" in found["fid"]["identity"]


@pytest.mark.parametrize(
    ("name", "metrics"),
    [("sdxl_1step", "fid"), ("sd15_1step", "fid"), ("sdxl_unified", "fid"),
     ("sdxl_candidate", "fid"), ("sdxl_quick", "kid"), ("sd15_quick", "kid")],
)  # fmt: skip
def test_no_shipped_suite_waits_for_a_reference_of_the_users(
    folder: Path, name: str, metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prompts.n=5", "task=plan", "device=cpu", f"cache={folder / 'cache'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert main([f"suite={name}", *words]) == 0
    said = capsys.readouterr().out
    assert f"reference to make: coco2014_5k for {metrics} (inception-clean), 6 pictures" in said
    assert "no reference" not in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, f"{NAMES[2]} (not found (404))"),
        (b"<html>moved</html>", f"{NAMES[2]} is no JPEG file"),
        (PICTURES[NAMES[2]][:-700], f"{NAMES[2]} is unreadable (image file is truncated"),
        (PICTURES[NAMES[0]], f"{NAMES[2]} has 40 x 30 pixels, not 36 x 36"),
    ],
)
def test_a_picture_that_cannot_be_had_is_named_and_the_others_are_kept(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    with publisher(monkeypatch, **{NAMES[2].removesuffix(".jpg"): content}) as asked:
        code, _, errors = bench()
    assert code == 2 and errors.count("\n") == 1
    assert f"coco2014_5k: 1 of 6 pictures cannot be had: {said}" in errors
    assert "COCO_ENDPOINT" in errors and str(folder / "data/pictures") in errors
    kept = {path.name for path in (folder / "data/pictures/val2014").iterdir()}
    assert kept == {*NAMES} - {NAMES[2]}
    with publisher(monkeypatch) as asked:
        photographs.fetch(photographs.of("coco2014_5k"), lambda count: None)
        assert gets(asked) == [NAMES[2]]


def test_what_passes_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many requests, a server that is out of order, a connection that breaks off."""
    faults = [
        Fault(f"GET val2014/{NAMES[0]}", 429, {"Retry-After": "0"}),
        Fault(f"GET val2014/{NAMES[1]}", 503),
        Fault(f"GET val2014/{NAMES[4]}", cut=100),
    ]
    with publisher(monkeypatch, faults) as asked:
        photographs.fetch(photographs.of("coco2014_5k"), lambda count: None)
    assert gets(asked) == sorted([*NAMES, NAMES[0], NAMES[1], NAMES[4]])


def test_what_stays_is_said_in_one_line_and_goes_on_later(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publisher(monkeypatch, [Fault(f"GET val2014/{NAMES[5]}", 503, times=9)]):
        code, _, errors = bench()
    assert code == 2 and "failed (503); try again later; what came is kept" in errors
    kept = {path.name for path in (folder / "data/pictures/val2014").iterdir()}
    assert kept == {*NAMES[:5]}
    with publisher(monkeypatch) as asked:
        assert bench()[0] == 0 and gets(asked) == [NAMES[5]]


def test_without_a_network_the_plan_says_what_to_bring(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, said, errors = bench()
    assert code == 2 and "1 of what this run needs is missing" in errors
    assert f"put them into {folder}/data/pictures" in said and "HF_HUB_OFFLINE is set" in said


def test_a_full_disk_is_one_line(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **words: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("bench.run.photographs.written_whole", full)
    with publisher(monkeypatch):
        code, _, errors = bench()
        assert code == 2 and errors.count("\n") == 1
        assert f"{folder}/data/pictures: No space left on device" in errors
        assert "BENCH_DATA names another place" in errors


def test_damage_on_this_machine_is_made_good(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that was cut off is fetched again; a damaged reference is made again."""
    kept = folder / "data/pictures/val2014"
    kept.mkdir(parents=True)
    for name, content in PICTURES.items():
        (kept / name).write_bytes(content[: None if name != NAMES[1] else 200])
    with publisher(monkeypatch) as asked:
        assert bench()[0] == 0
        assert gets(asked) == [NAMES[1]]
        (made,) = (folder / "data/references/coco2014_5k").glob("*.safetensors")
        whole = references.read(made)
        made.write_bytes(made.read_bytes()[:-9])
        assert bench()[0] == 0
    assert references.read(made).identity == whole.identity


def test_other_prompts_are_held_against_photographs_only_where_that_is_said(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.txt").write_text("one\ntwo\nthree\nfour\n")
    mine = ("prompts.set=mine.txt", "prompts.n=4", "out=mine")
    with publisher(monkeypatch) as asked:
        code, said, _ = bench(*mine)
        assert code == 2 and asked == []
        assert "metrics.fid.reference=coco2014_5k measures against those of" in said
        words = ("metrics.fid.reference=coco2014_5k", "metrics.kid.reference=coco2014_5k")
        assert bench(*mine, *words)[0] == 0


def test_the_teachers_own_pictures_are_drawn_where_that_is_asked(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without, the price is said and the metric left out. They are drawn with a seed of their own,
    once, and not kept."""
    with publisher(monkeypatch):
        assert bench("out=without")[0] == 0
        code, plan, _ = bench("task=plan")
        assert ("fid_teacher is left out: it takes 5 more pictures of teacher-2step with another "
                "seed, 20 evaluations; references=teacher draws them once") in plan  # fmt: skip
        code, said, errors = bench("references=teacher", "out=run")
        assert code == 0, errors
        assert (
            "for fid_teacher (inception-clean), 5 pictures of teacher-2step with seed 1000003"
            in said
        )
        code, said, _ = bench("references=teacher", "task=plan")
        assert "reference to make" not in said and "0 images to make" in said
        assert (
            bench("seeds=[1000003]", "metrics=[fid]", "metrics.fid.weights=w.pth", "out=other")[0]
            == 0
        )
    (row,) = [row for row in values(folder / "run").items() if row[0] == "mine-1step"]
    assert set(row[1]) == {"fid", "kid", "fid_teacher"}
    means = {run: np.stack([np.array(Image.open(folder / f"{run}/images/{name}/{i:05d}.png"))
                            for i in range(5)]).reshape(5, -1, 3).mean(axis=1)
             for run, name in (("run", "mine-1step"), ("other", "teacher-2step"))}  # fmt: skip
    reference = ReferenceStatistics.of(means["other"].astype(np.float32), name="", extractor="")
    expected = frechet(means["run"], reference)[0]
    assert row[1]["fid_teacher"]["value"] == pytest.approx(expected, rel=1e-4)


def test_processes_share_the_teachers_pictures(
    folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one has drawn, the other does not draw."""
    drawn: list[int] = []

    def counted(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        drawn.append(len(images))
        return colours(images, prompts)

    monkeypatch.setattr(Inception, "build", lambda self, device: counted)
    words = (
        "references=teacher",
        "metrics=[fid_teacher]",
        f"metrics.fid_teacher.weights={folder}/w.pth",
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert bench(*words, "out=run")[0] == 0
    assert sum(drawn) == 5 + 2 * 5


def test_a_reference_of_the_teacher_needs_one(folder: Path, bench: Bench) -> None:
    words = ("metrics=[fid_teacher]", f"metrics.fid_teacher.weights={folder}/w.pth")
    code, said, _ = bench(*words, "~contestants.teacher", "references=teacher")
    assert code == 2 and "0 rows of method teacher where one is needed" in said
    code, said, _ = bench(*words)
    assert code == 2 and "missing: fid_teacher is left out" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (PUBLISHER, "http://elsewhere.org/val2014", "row 1 has the coco_url 'http://elsewhere"),
        ("\t30\t40\t", "\tthirty\t40\t", "row 1 has no whole numbers of pixels: '40' x 'thirty'"),
        ("coco_url", "url", "has no column 'coco_url'"),
    ],
)
def test_a_set_that_does_not_say_which_pictures_they_are(
    folder: Path, bench: Bench, old: str, new: str, said: str
) -> None:
    file = folder / "data/prompts/captions_source.tsv"
    file.write_text(file.read_text().replace(old, new))
    code, plan, _ = bench()
    assert code == 2 and f"missing: prompts.set={file}: {said}" in plan
