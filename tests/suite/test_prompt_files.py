"""Prompt files come back as they were written, by Python's csv, pandas and json, or are refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.suite import prompts

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SIGNS = st.sampled_from("\"',;\t |=\\") | st.characters(exclude_categories=["Cs"])
LINE = st.text(SIGNS.filter(lambda c: c not in "\0\r\n"), min_size=1, max_size=12)
TEXT = st.lists(LINE, min_size=1, max_size=3).map("\n".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


def some(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(texts.filter(lambda text: text.strip() != ""), min_size=1, max_size=5)


def loaded(folder: Path, name: str, content: str | bytes) -> prompts.PromptSet:
    held = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(held)
    return prompts.load(str(folder / name), None, folder)


def stripped(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text.strip() for text in texts)


@QUICK
@given(
    some(TEXT | st.lists(LINE, min_size=2, max_size=2).map("\r\n".join)),
    st.sampled_from([(".csv", ","), (".csv", ";"), (".csv", "\t"), (".tsv", "\t")]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
    ENCODINGS,
)
@example(['a sign that says "hi"', "two\tparts", '"'], (".tsv", "\t"), csv.QUOTE_MINIMAL, True,
         "utf-16")  # fmt: skip
def test_what_the_csv_module_writes_comes_back(
    tmp_path: Path, texts: list[str], form: tuple[str, str], quoting: Any, told: bool, encoding: str
) -> None:
    """`told`: below a spreadsheet's line that names the separator."""
    suffix, separator = form
    written = io.StringIO(newline="")
    written.write(f"sep={separator}\r\n" if told else "")
    rows = csv.writer(written, delimiter=separator, quoting=quoting)
    rows.writerow(["id", "Prompt", "note"])
    rows.writerows([number, text, ""] for number, text in enumerate(texts))
    content = written.getvalue().encode(encoding)
    assert loaded(tmp_path, f"p{suffix}", content).texts == stripped(texts)


@QUICK
@given(some(TEXT), st.booleans(), st.sampled_from([",", "\t"]), ENCODINGS)
def test_what_pandas_writes_comes_back_as_pandas_reads_it(
    tmp_path: Path, texts: list[str], index: bool, separator: str, encoding: str
) -> None:
    path = tmp_path / ("p.csv" if separator == "," else "p.tsv")
    frame = pd.DataFrame({"prompt": texts, "n": range(len(texts))})
    frame.to_csv(path, sep=separator, index=index, encoding=encoding)
    theirs = pd.read_csv(path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False)
    found = prompts.load(str(path), None, tmp_path).texts
    assert found == stripped(theirs["prompt"]) == stripped(texts)


@QUICK
@given(some(TEXT | st.just("\0 \r\n\x85")), st.booleans(), ENCODINGS)
def test_json_comes_back(tmp_path: Path, texts: list[str], plain: bool, encoding: str) -> None:
    rows = [json.dumps({"prompt": text}, ensure_ascii=plain) for text in texts]
    listing = json.dumps(texts, ensure_ascii=plain).encode(encoding)
    assert loaded(tmp_path, "p.json", listing).texts == stripped(texts)
    content = "".join(f"{row}\r\n" for row in rows).encode(encoding)
    assert loaded(tmp_path, "p.jsonl", content).texts == stripped(texts)


@QUICK
@given(some(LINE), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(0, 2), ENCODINGS)
def test_lines_come_back(
    tmp_path: Path, texts: list[str], end: str, more: int, encoding: str
) -> None:
    content = (end.join(texts) + more * end).encode(encoding)
    assert loaded(tmp_path, "p.txt", content).texts == stripped(texts)


EMPTY = ["a", "", "b", " \u3000", "", "", "", "", "c"]
WHERE = "6 empty prompts ({0} {1}, {0} {2}, {0} {3}, {0} {4}, {0} {5} and 1 more)"


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("p.txt", "\n".join(EMPTY), WHERE.format("line", 2, 4, 5, 6, 7)),
        ("p.csv", "id,prompt\n" + "".join(f"1,{t}\n" for t in EMPTY),
         WHERE.format("line", 3, 5, 6, 7, 8)),
        ("p.csv", "prompt\na\n\n\"\"\nb\n", "2 empty prompts (line 3, line 4)"),
        ("p.csv", "prompt,n\n\"a\nb\",1\n,2\n\nc,3\n", "2 empty prompts (line 4, line 5)"),
        ("p.jsonl", "".join(json.dumps({"prompt": t}) + "\n" for t in EMPTY),
         WHERE.format("line", 2, 4, 5, 6, 7)),
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt": "b"}\n', "an empty prompt (line 2)"),
        ("p.json", json.dumps(EMPTY), WHERE.format("item", 2, 4, 5, 6, 7)),
        ("p.json", '{"annotations": [{"image_id": 4, "id": 1, "caption": " \\n"}], '
                   '"images": [{"id": 3}]}', "2 empty prompts (image_id 3, image_id 4)"),
    ],
)  # fmt: skip
def test_empty_prompts_are_refused_with_their_places(
    tmp_path: Path, name: str, content: str, where: str
) -> None:
    with pytest.raises(UsageError) as raised:
        loaded(tmp_path, name, content)
    assert str(raised.value) == f"prompts.set={tmp_path / name}: holds {where}; valid: some text"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", b"prompt\na cat, a dog\nb\nc, d\n", "names 1 columns, but line 2 has 2, line 4"),
        ("p.tsv", b"id\tprompt\n1\ta\n2\n", "line 1 names 2 columns, but line 3 has 1"),
        ("p.csv", b"Prompt,id,prompt\na,1,b\n", "line 1 has two columns 'prompt'"),
        ("p.csv", b"a red cat on a mat\na dog\n", "it has 'a red cat on a mat'; it must name"),
        ("p.tsv", b"prompt\na\n\"G I F T\" in red\n", "line 3 has text after a closing quotation"),
        ("p.csv", b"prompt\na\n\"b\nc\nd\n", "line 3 has a quotation mark that is never closed"),
        ("p.csv", b"sep=;\nid,prompt\n1,a\n", "line 2 has no column 'prompt', 'caption', 'text'"),
        ("p.csv", "prompt\n" + "x" * 140_000, "line 2 has a cell of above"),
        ("p.txt", "one\ntwo".encode("utf-16-le"), "line 1 holds a NUL character; save it as UTF-8"),
        ("p.txt", b"one\ntwo\0\n", "line 2 holds a NUL character"),
        ("p.txt", b"one\ncaf\xe9\n", "not UTF-8 (byte 7, line 2); save it as UTF-8"),
        ("p.txt", "id\tPrompt\r\n1\ta cat\r\n".encode("utf-16"), "valid: the same file as .tsv"),
        ("p.txt", b"\xff\xfea", "not UTF-16 (byte 2, line 1)"),
        ("p.jsonl", b'{"prompt": "a"}\n{"id": 1, "tag": "b"}\n', "line 2 has no column 'prompt', "
         "'caption', 'text'; it has 'id', 'tag'"),
        ("p.jsonl", b'{"prompt": "a", "prompt": "b"}', "line 1 has the key 'prompt' twice"),
        ("p.jsonl", b'{"prompt": "a"}\n"b"\n', "line 2 is not a JSON object"),
        ("p.json", b'[{"caption": "a", "caption": "b"}]', "has the key 'caption' twice"),
        ("p.json", b'["a", {"prompt": null}]', "item 2 has a prompt that is no text"),
        ("p.json", b'{"annotations": [{"image_id": 1, "id": 2, "bbox": []}]}', "not of objects"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_one_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        loaded(tmp_path, name, content)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_quotation_marks_within_a_cell_are_text(tmp_path: Path) -> None:
    content = 'prompt\ta\nsays "no" twice\t1\n 5" tall\t2\n'
    assert loaded(tmp_path, "p.tsv", content).texts == ('says "no" twice', '5" tall')


def test_a_published_set_is_read_as_its_publisher_writes_it(tmp_path: Path) -> None:
    """PartiPrompts has no quoting, and one prompt that begins with a quotation mark."""
    lines = ["Prompt\tCategory", '"G I F T" in red\tText', *["x\tAbstract"] * 1631]
    (tmp_path / "PartiPrompts.tsv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match="holds 1632 texts"):
        prompts.load("parti", None, tmp_path)


def test_several_lines_in_a_prompt_do_not_hide_where_one_ends() -> None:
    made = [prompts.PromptSet("p", texts) for texts in (("a\nb", "c"), ("a", "b\nc"), ("a", "b"))]
    assert len({one.revision for one in made}) == 3
