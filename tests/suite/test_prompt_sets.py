"""Named prompt sets and files of every kind."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.suite import prompt_sets, prompts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, no network."""
    monkeypatch.setattr("hypersd.hub_client.offline", lambda: True)
    return tmp_path


def test_our_own_set_is_balanced_wherever_it_is_cut(tmp_path: Path) -> None:
    with (prompt_sets.SHIPPED / "own.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["prompt"] for row in rows] == list(prompts.load("own", None, tmp_path).texts)
    assert len({row["prompt"].lower() for row in rows}) == 200
    for n in (10, 50, 200):
        assert set(Counter(row["category"] for row in rows[:n]).values()) == {n // 10}
    assert prompts.load("own", 30, tmp_path).texts == prompts.load("own", None, tmp_path).texts[:30]


def test_a_named_set_is_read_from_the_data_folder(folder: Path) -> None:
    """The column's name as its publisher writes it; quotation marks are part of a prompt."""
    lines = ["Prompt\tCategory", 'a sign that says "no"\tText', *["x y\tAbstract"] * 1631]
    (folder / "PartiPrompts.tsv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match=r"1632 texts of revision .* expected 1632 of f6f70c68"):
        prompts.load("parti", 10, folder)
    (folder / "drawbench.json").write_text(json.dumps(["a", "b"] * 100))
    assert prompts.load("drawbench", 3, folder).texts == ("a", "b", "a")
    (folder / "drawbench.json").write_text(json.dumps(["a"]))
    with pytest.raises(UsageError, match=r"holds 1 texts .* expected 200 of any"):
        prompts.load("drawbench", None, folder)


def test_a_set_of_several_files_is_read_in_their_order(folder: Path) -> None:
    for style in ("anime", "concept-art", "paintings", "photo"):
        (folder / f"{style}.json").write_text(json.dumps([f"{style} {i}" for i in range(800)]))
    texts = prompts.load("hpdv2", None, folder).texts
    assert (len(texts), texts[0], texts[800], texts[-1]) == (
        3200, "anime 0", "concept-art 0", "photo 799",
    )  # fmt: skip


def test_cocos_annotations_give_the_first_caption_of_each_picture(tmp_path: Path) -> None:
    captions = [(9, 31, "second of nine"), (4, 12, "of four\n"), (9, 30, "first  of nine")]
    rows = [{"image_id": image, "id": i, "caption": text} for image, i, text in captions]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": rows, "images": []}))
    found = prompts.load(str(tmp_path / "captions.json"), None, tmp_path)
    assert found.texts == ("of four", "first of nine")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{", "not JSON"), ('{"a": 1}', "holds no list"), ("[1]", "item 1 is not a JSON object"),
     ('[{"a": 1}]', "item 1 has no column"), ('{"annotations": [{}]}', "has no image_id")],
)  # fmt: skip
def test_a_wrong_json_file_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(UsageError, match=rf"^prompts\.set=[^\n]*p\.json: [^\n]*{reason}[^\n]*$"):
        prompts.load(str(tmp_path / "p.json"), None, tmp_path)


def test_what_is_not_here_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"captions_source\.tsv is not there, and HF_HUB_OFFLINE"):
        prompts.load("coco2014_5k", None, folder)
    with pytest.raises(UsageError, match=r"captions_val2017\.json there; take annotations/"):
        prompts.load("coco2017_5k", None, folder)
    with pytest.raises(UsageError, match=r"no such set; did you mean 'geneval'"):
        prompts.load("gen_eval", None, folder)


def test_a_set_is_fetched_once_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(place: str) -> bytes:
        asked.append(place)
        return json.dumps([f"p{i}" for i in range(200)]).encode()

    monkeypatch.setattr("hypersd.hub_client.offline", lambda: False)
    first, again = (prompt_sets.files("drawbench", folder, fetched) for _ in range(2))
    assert asked == ["dataset:zhwang/HPDv2/benchmark/drawbench.json"]
    assert first == again == [folder / "drawbench.json"]
    found = prompts.load("drawbench", None, folder)
    assert found.texts == tuple(f"p{i}" for i in range(200))


def test_words_before_each_prompt_are_part_of_the_prompts() -> None:
    """As the trigger of a style's LoRA; captions of the world are none any more."""
    plain = prompts.load("shapes/test", 3, Path())
    found = prompts.after("papercut, ", plain)
    assert found.texts == tuple(f"papercut, {text}" for text in plain.texts)
    assert found.revision != plain.revision and found.split is None
    assert found.name == "shapes/test after 'papercut,'"
    assert prompts.after("", plain) is plain
