"""Prompts of every kind come through a run as they are, and stay text wherever they are shown."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.errors import UsageError
from bench.suite import prompts

HOSTILE = [
    "a red circle\x00 with a NUL",
    "bell \x07, escape \x1b[2J\x1b]0;title\x07, vertical tab \x0b, form feed \x0c, unit \x1f.",
    "\u202eright to left\u202c \u0627\u0644\u0633\u0644\u0627\u0645 \u2066isolated\u2069",
    "line\u2028separator, paragraph\u2029separator, next\x85line",
    "two\nlines\r\nthree\tcolumns",
    "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;</script>",
    "../../../etc/passwd", "/etc/passwd", "..\\..\\windows", "a/b\\c:d*e?f|g", "~", "-", ".",
    "$(touch pwned) `touch pwned` ; touch pwned", "${oc.env:HOME} {{ 7 * 7 }} {% raw %} %s %n",
    "=HYPERLINK(\"http://x.example\")", '"; DROP TABLE votes; --', "#set page(width: 1pt)",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \ufeff\u200b\ufffd\ufffe \U0010ffff",
    "e\u0301" + "\u0301" * 500, "x" * 100_000, "\u0301",
]  # fmt: skip


class Tags(HTMLParser):
    """Counts tags, and attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.handlers = 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += sum(name.startswith("on") for name, _ in attrs)


def tags(page: Path) -> tuple[int, int]:
    found = Tags()
    found.feed(page.read_text(encoding="utf-8"))
    return found.scripts, found.handlers


def test_they_come_through_a_run(bench: Callable[..., int], world: Path, capsys: Any) -> None:
    (world / "mine.json").write_text(json.dumps(HOSTILE))
    words = ("~contestants.mine", "~contestants.real", "prompts.set=mine.json", "prompts.n=null")
    before = {p.name for p in world.iterdir()}
    assert bench(*words, "out=run") == 0
    lines = (world / "run/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == HOSTILE
    assert len(list((world / "run/images/lcm-1step").iterdir())) == len(HOSTILE)
    assert tags(world / "run/report.html") == _plain_tags(bench, world)
    assert (world / "run/report.pdf").read_bytes().startswith(b"%PDF")
    assert {p.name for p in world.iterdir()} - before == {"run", "runs", "plain"}
    assert "\x1b]0;" not in capsys.readouterr().out


def _plain_tags(bench: Callable[..., int], world: Path) -> tuple[int, int]:
    """Those of a report on as many prompts that hold nothing."""
    plain = [f"a red circle {i}" for i in range(len(HOSTILE))]
    (world / "mine.json").write_text(json.dumps(plain))
    words = ("~contestants.mine", "~contestants.real", "prompts.set=mine.json", "prompts.n=null")
    assert bench(*words, "out=plain") == 0
    return tags(world / "plain/report.html")


def test_what_a_reader_may_not_expect_is_counted(
    bench: Callable[..., int], world: Path, capsys: Any
) -> None:
    """In the plan and in the ledger; nothing is renumbered."""
    (world / "mine.csv").write_text('prompt\n a red circle\na red circle\n"a\nb"\n', "utf-8")
    words = ("~contestants.mine", "~contestants.real", "prompts.set=mine.csv", "prompts.n=null")
    counts = [
        "1 of 3 prompts of mine.csv repeat an earlier one",
        "1 of 3 prompts of mine.csv hold a line break",
        "1 of 3 prompts of mine.csv had white space around them, which is left out",
    ]
    assert bench(*words, "task=plan") == 0
    said = capsys.readouterr().out
    assert all(f"note: {line}\n" in said for line in counts)
    assert bench(*words, "out=run") == 0
    assert json.loads((world / "run/result.json").read_text("utf-8"))["ledger"]["prompts"] == counts
    rows = map(json.loads, (world / "run/prompts.jsonl").read_text("utf-8").splitlines())
    assert [row["text"] for row in rows] == ["a red circle", "a red circle", "a\nb"]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv", ".json"])
def test_a_file_of_a_gigabyte_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match="is above 256 MiB"):
        prompts.load(str(path), None, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'["\\ud800"]', "half a surrogate pair"),
        ("a.json", b"[" * 200_000, "nested too deeply"),
        ("a.jsonl", b'{"prompt": ' + b"[" * 200_000, "nested too deeply"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "digits"),
        ("a.jsonl", b'{"prompt": null}', "line 1 has a prompt that is no text"),
        ("a.json", b'{"annotations": [{"image_id": 1, "id": 1, "caption": 5}]}', "an annotation"),
        ("a.json", b'{"annotations": [{"image_id": 1, "id": 1, "caption": "x"}, '
                   b'{"image_id": "y", "id": 2, "caption": "x"}]}', "an annotation"),
        ("a.tsv", b"id\tname\n1\t2\n", "line 1 has no column"),
        ("a.txt", b"\xef\xbb\xbf", "holds no prompt"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as raised:
        prompts.load(str(tmp_path / name), None, tmp_path)
    assert "\n" not in str(raised.value)


def test_lines_end_where_an_editor_ends_them(tmp_path: Path) -> None:
    """Not at U+2028, U+0085, form feeds or the separators of ASCII, where str.splitlines cuts."""
    text = "one\x0c\u2028\x1c\x85still one"
    for name, content in (
        ("a.txt", f"{text}\r\ntwo\rthree\n"),
        ("a.tsv", f"id\tprompt\n1\t{text}\n2\ttwo\r\n3\tthree"),
        ("a.jsonl", "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n"
                            for t in (text, "two", "three"))),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content.encode())
        assert prompts.load(str(tmp_path / name), None, tmp_path).texts == (text, "two", "three"), (
            name
        )


def test_pictures_are_named_by_number_never_by_prompt(tmp_path: Path) -> None:
    import numpy as np

    from bench.run.folder import write_images

    write_images(tmp_path, "lcm-1step", {7: np.zeros((8, 8, 3), np.uint8)})
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    assert path == tmp_path / "images/lcm-1step/00007.png"
    assert Image.open(path).size == (8, 8)
