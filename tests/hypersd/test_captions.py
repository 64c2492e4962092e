"""Captions of training pictures: what webdataset, pandas and editors write, or a line that says."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from webdataset import TarWriter
from webdataset.tariterators import group_by_keys, tar_file_expander

from hypersd.captioned import CaptionedPicture
from hypersd.encoded import Reading
from hypersd.errors import UsageError
from hypersd.sources import find, read_data
from tests.hypersd.real_models import make_pictures

QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORD = st.text(st.sampled_from("ab\u00e9-_ "), min_size=1, max_size=4)
KEY = st.lists(WORD | st.just("v1.2"), max_size=2).flatmap(
    lambda folders: WORD.map(lambda word: "/".join([*folders, word]))
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


def samples(**data: object) -> list[CaptionedPicture]:
    return list(find(read_data(data)).samples())


def packed(path: Path, members: Sequence[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w") as shard:
        for name, held in members:
            info = tarfile.TarInfo(name)
            info.size = len(held)
            shard.addfile(info, io.BytesIO(held))
    return str(path)


def filled(folder: Path, files: Mapping[str, bytes | str]) -> str:
    for name, held in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held if isinstance(held, bytes) else held.encode())
    return str(folder)


@QUICK
@given(st.dictionaries(KEY, TEXT, min_size=1, max_size=4))
@example({"0000/image": "one", "0001/image": "two"})
@example({"a.b/0": "one", "a.c/0": "two"})
def test_what_webdatasets_writer_packs_comes_back(tmp_path: Path, texts: dict[str, str]) -> None:
    with TarWriter(str(tmp_path / "s.tar")) as writer:
        for key, text in texts.items():
            writer.write({"__key__": key, "png": key.encode(), "txt": text})
    found = samples(webdataset=str(tmp_path / "s.tar"))
    assert [(s.name, s.image, s.caption or "") for s in found] == [
        (f"s.tar/{key}", key.encode(), text.strip()) for key, text in texts.items()
    ]


VISIBLE = st.text(st.sampled_from("ab./"), min_size=1, max_size=5).filter(
    lambda name: not name.rpartition("/")[2].startswith(".") and not name.endswith("/")
)


@QUICK
@given(st.lists(VISIBLE, max_size=6, unique=True))
def test_members_belong_to_samples_as_webdatasets_reader_says(
    tmp_path: Path, names: list[str]
) -> None:
    path = packed(tmp_path / "s.tar", [(f"{name}.png", name.encode()) for name in names])
    with open(path, "rb") as stream:
        theirs = list(group_by_keys(tar_file_expander([{"url": path, "stream": stream}])))
    keys = [f"s.tar/{one['__key__']}" for one in theirs]
    if len(set(keys)) < len(keys):
        with pytest.raises(UsageError, match="has members apart from each other"):
            samples(webdataset=path)
        return
    found = samples(webdataset=path)
    assert [s.name for s in found] == keys
    assert [s.image for s in found] == [one.get("png", b"") for one in theirs]


def test_a_folder_for_each_sample_is_a_sample(tmp_path: Path) -> None:
    members = [(f"{i}/image.{end}", f"{end} {i}".encode()) for i in range(4)
               for end in ("png", "txt")]  # fmt: skip
    found = samples(webdataset=packed(tmp_path / "s.tar", members))
    assert [(s.name, s.image, s.caption) for s in found] == [
        (f"s.tar/{i}/image", f"png {i}".encode(), f"txt {i}") for i in range(4)
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("0.png", "0.txt", "0.txt"), "s.tar: sample 0 has .txt twice"),
        (("a/0.png", "a/0.PNG"), "s.tar: sample a/0 has .png twice"),
        (("0.png", "1.png", "0.txt", "1.txt"), "sample 0 has members apart from each other"),
        (("0.png", "0.txt", "0.jpg"), r"sample 0 has several pictures \(.jpg, .png\); valid: one"),
    ],
)
def test_a_shard_that_mixes_samples_is_refused(
    tmp_path: Path, names: Sequence[str], said: str
) -> None:
    path = packed(tmp_path / "s.tar", [(name, b"x") for name in names])
    with pytest.raises(UsageError, match=said):
        samples(webdataset=path)


FAULTS = {
    "caf\u00e9".encode("latin-1"): "not UTF-8 (byte 3, line 1); save it as UTF-8",
    "a bird".encode("utf-16-le"): "line 1 holds a NUL character; save it as UTF-8",
}
READ = {
    "\ufeffa bird\r\n".encode(): "a bird",
    " a bird\u3000\n\n".encode("utf-16"): "a bird",
    b"one line\r\nanother": "one line\r\nanother",
    b" \n": None,
    b"": None,
}


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
def test_captions_are_read_as_editors_write_them_or_are_a_fault(
    tmp_path: Path, suffix: str
) -> None:
    for i, held in enumerate([*READ, *FAULTS]):
        filled(tmp_path / "set", {f"{i}.png": b"", f"{i}{suffix}": held})
    shard = [(path.name, path.read_bytes()) for path in sorted((tmp_path / "set").iterdir())]
    for found in (
        samples(folder=str(tmp_path / "set")),
        samples(webdataset=packed(tmp_path / "s.tar", shard)),
    ):
        assert [s.caption for s in found] == [*READ.values(), None, None]
        faults = [f"{suffix}: {words}" for words in FAULTS.values()]
        assert [s.fault for s in found] == [""] * len(READ) + faults


@pytest.mark.parametrize(
    ("files", "caption", "fault"),
    [
        ({".txt": "a", ".caption": " a\n"}, "a", ""),
        ({".txt": "a", ".caption": "b"}, None, "other captions in .txt and .caption"),
        ({".txt": "", ".caption": "b"}, "b", ""),
        ({".txt": "a", ".json": '{"caption": "b"}'}, None, "other captions in .txt and .json"),
        ({".txt": "a", ".json": '{"caption": null, "width": 5}'}, "a", ""),
        ({".txt": "a", ".json": "[1, 2]"}, "a", ""),
        ({".json": '{"caption": "b "}'}, "b", ""),
        ({".json": '{"caption": ["b"]}'}, None, ".json: has a caption that is no text"),
        ({".json": '{"caption": "\\ud800"}'}, None, ".json: holds half a surrogate pair"),
        ({".json": "[1, 2]"}, None, ".json: is not a JSON object"),
        ({".json": '{"text": "b"}'}, None, ""),
    ],
)
def test_two_captions_of_one_picture_agree_or_are_a_fault(
    tmp_path: Path, files: dict[str, str], caption: str | None, fault: str
) -> None:
    members = [("0.png", b"x"), *((f"0{s}", held.encode()) for s, held in files.items())]
    (found,) = samples(webdataset=packed(tmp_path / "s.tar", members))
    assert (found.caption, found.fault) == (caption, fault)


def test_a_sample_without_a_picture_says_what_it_has(tmp_path: Path) -> None:
    members = [("0.left.png", b"x"), ("0.txt", b"a"), ("README", b""), (".hidden", b"")]
    (found,) = samples(webdataset=packed(tmp_path / "s.tar", members))
    assert found.fault == "no picture, but .left.png, .txt"


@QUICK
@given(st.lists(TEXT, min_size=1, max_size=4), st.sampled_from(["pandas", "json", "json-ascii"]))
def test_metadata_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], by: str
) -> None:
    folder = tmp_path_factory.mktemp("set")
    names = [f"{i}, \u00e9.png" for i in range(len(texts))]
    frame = pd.DataFrame({"file_name": names, "text": texts})
    rows = [{"file_name": name, "text": text} for name, text in zip(names, texts, strict=True)]
    filled(folder, dict.fromkeys(names, b"x"))
    if by == "pandas":
        frame.to_csv(folder / "metadata.csv")
    else:
        lines = [json.dumps(row, ensure_ascii=by == "json-ascii") for row in rows]
        (folder / "metadata.jsonl").write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert [s.caption or "" for s in samples(folder=str(folder))] == [t.strip() for t in texts]


def test_metadata_are_of_the_folder_they_lie_in(tmp_path: Path) -> None:
    folder = filled(tmp_path, {
        "a/x.png": b"", "b/x.png": b"", "b/c/y.png": b"", "b/c/y.txt": "y\n",
        "a/metadata.csv": "file_name,text\n./x.png,one\n",
        "b/metadata.jsonl": '{"file_name": "x.png", "text": "two"}\n\n'
                            '{"file_name": "c/y.png", "text": "y"}\n',
    })  # fmt: skip
    found = {s.name: s.caption for s in samples(folder=folder)}
    assert found == {"a/x.png": "one", "b/x.png": "two", "b/c/y.png": "y"}


def row(name: str, text: object = "a") -> str:
    return json.dumps({"file_name": name, "text": text}) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metadata.jsonl", row("0.png") + "[1]\n", "line 2 is not a JSON object"),
        ("metadata.jsonl", '{"file_name": "0.png", "words": "a"}\n',
         "line 1 has no column 'text'; it has 'file_name', 'words'; valid: columns file_name and"),
        ("metadata.jsonl", row("0.png", 5), "line 1 has a file_name or text that is no text"),
        ("metadata.jsonl", row("0.png") + row("7.png") + row("8.png"),
         "names pictures that are not there (line 2 7.png, line 3 8.png)"),
        ("metadata.jsonl", row("0.png") + row("./0.png"), "once more (line 2 ./0.png)"),
        ("metadata.csv", "file_name,text\n0.png,a cat, a dog\n", "but line 2 has 3"),
        ("metadata.csv", "file_name,caption\n0.png,a\n", "line 1 has no column 'text'; it has"),
        ("metadata.csv", b"file_name,text\n0.png,caf\xe9\n", "not UTF-8 (byte 24, line 2)"),
    ],
)  # fmt: skip
def test_metadata_that_do_not_fit_are_one_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    folder = filled(tmp_path, {"0.png": b"", name: content})
    with pytest.raises(UsageError) as raised:
        samples(folder=folder)
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")


def test_faults_are_counted_and_named(tmp_path: Path) -> None:
    make_pictures(tmp_path / "set", 4)
    filled(tmp_path / "set", {"1.txt": b"\xff", "2.caption": "another", "3.txt": " "})
    source = find(read_data({"folder": str(tmp_path / "set")}))
    reading = Reading(source, 8, tmp_path / "damaged.log")
    said = r"3 of 4 pictures are damaged; .* the first of them 1\.png: \.txt: not UTF-8"
    with pytest.raises(UsageError, match=said):
        list(reading)
    assert (tmp_path / "damaged.log").read_text(encoding="utf-8").splitlines() == [
        "1.png\t.txt: not UTF-8 (byte 0, line 1); save it as UTF-8",
        "2.png\tother captions in .txt and .caption",
        "3.png\tno caption",
    ]
