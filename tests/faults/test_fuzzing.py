"""Random suites, prompt files and weights: one line or a result, no traceback, nothing written
outside the run folder and the cache."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from bench import cli
from bench.errors import UsageError
from bench.run import plan
from bench.suite import contestant as contestants
from bench.suite import prompt_files, prompts
from bench.suite import suite as suites
from hypersd import recipe
from hypersd.recipe import Recipe

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"}
_watched: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched or event not in WRITES:
        return
    if event == "open":
        flags = arguments[2]
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    if isinstance(arguments[0], str | bytes | os.PathLike):
        _watched[-1].append(os.path.abspath(os.fsdecode(arguments[0])))


@pytest.fixture(scope="session")
def audit() -> None:
    """Python tells of every file that it opens; this can be set once and never undone."""
    sys.addaudithook(_audit)


@contextmanager
def only_below(*folders: Path) -> Iterator[None]:
    """Fails where a path outside of `folders` is opened for writing, made, renamed or removed."""
    _watched.append([])
    try:
        yield
    finally:
        paths = _watched.pop()
    allowed = [str(folder.resolve()) + os.sep for folder in folders]
    outside = [p for p in paths if not (p + os.sep).startswith(tuple(allowed))]
    assert [p for p in outside if not p.startswith("/dev/")] == []


WORDS = st.sampled_from([
    "title", "version", "steps", "prompts", "seeds", "metrics", "contestants", "margins", "limits",
    "claims", "size", "base", "precision", "preset", "extends", "set", "n", "shapes/test", "lora",
    "unet", "pipeline", "images", "recipe", "like", "method", "scheduler", "eta", "guidance", "at",
    "timesteps", "spacing", "lcm", "real", "teacher", "fid", "clip", "faithful", "shapes/lcm",
    "shapes_1step", "../../x", "/", "..", "a/b", "hf://a/b", "_target_", "os.system", "${steps}",
    "${oc.env:HOME}", "${", "???", "[/b]", "\x00", "\ud7ff", "1e999", "*", "&a", "!!python/none",
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
WHOLE: dict[str, Any] = {
    "title": "T", "version": 1, "steps": [1], "prompts": {"set": "shapes/test", "n": 4},
    "metrics": ["clip"], "contestants": {"lcm": {"lora": "shapes/lcm"}},
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, audit: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused_or(what: Callable[[], object]) -> None:
    """Do something with input of any kind, below `runs`: it comes through or is refused."""
    with only_below(Path("runs")), suppress(UsageError):
        what()


def planned(path: Path, *words: str) -> None:
    command = cli.read([f"suite={path}", "limit=2", "out=runs/fuzz", *words])
    assert command.suite is not None
    plan.make(command.suite, command.options)


CONTESTANT = st.dictionaries(st.sampled_from([*contestants.KEYS, "at"]), VALUES, max_size=3)
CHANGES = (
    st.dictionaries(st.sampled_from([*suites.KEYS, "extends"]), VALUES, min_size=1, max_size=2)
    | st.fixed_dictionaries({"contestants": st.dictionaries(WORDS, CONTESTANT, max_size=2)})
    | st.dictionaries(WORDS, VALUES, max_size=2)
)


@EXAMPLES
@given(CHANGES)
@example({"contestants": 1})
@example({"contestants": {"../x": {}}})
@example({"contestants": {"x": {"lora": "\x00"}}})
@example({"contestants": {"x": {"images": "a\x00b"}}})
@example({"prompts": {"set": "\x00.txt"}})
@example({"prompts": {"set": "x" * 5000 + ".txt"}})
@example({"extends": "\x00.yaml"})
@example({"base": "hf://a/b"})
@example({"title": "[/b]\x1b]0;x\x07"})
def test_suites_of_any_values(place: Path, changes: dict[str, Any]) -> None:
    path = place / "mine.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changes}, allow_unicode=True), encoding="utf-8")
    refused_or(lambda: planned(path))


@EXAMPLES
@given(st.lists(st.tuples(st.sampled_from(["", "+", "++", "~"]), st.sampled_from(
    ["steps", "prompts.n", "contestants.lcm.eta", "contestants.x", "title", "limit", "x"]),
    st.text("{}[]:,'\"()$\\ ab1.=\x00", max_size=8)), max_size=2))  # fmt: skip
def test_any_words_on_the_command_line(place: Path, words: list[tuple[str, str, str]]) -> None:
    path = place / "mine.yaml"
    path.write_text(yaml.safe_dump(WHOLE))
    refused_or(lambda: planned(path, *(f"{sign}{key}={value}" for sign, key, value in words)))


@EXAMPLES
@given(st.binary(max_size=60) | st.text("{}[]:,-&*!|>'\"%@`#? \n\tab1.~", max_size=60))
@example("a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n")
@example("[" * 5000)
@example("steps: 0x" + "f" * 5000)
@example("? [a]\n: b")
@example("a: 2020-99-99\n!!python/object/apply:os.system ['id']: x")
@example("a: " + "${a" * 50)
def test_suites_of_any_bytes(place: Path, content: bytes | str) -> None:
    path = place / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused_or(lambda: planned(path))


PIECES = st.sampled_from([
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\t", b"\n", b"\r", b"\\ud800", b"prompt", b"text",
    b"annotations", b"image_id", b"caption", b"id", b"null", b"1e999", b"\xff", b"\x00",
    "\u2028".encode(), b"a red circle",
])  # fmt: skip


@EXAMPLES
@given(
    st.sampled_from(prompt_files.SUFFIXES),
    st.binary(max_size=40) | st.lists(PIECES, max_size=20).map(b"".join)
    | VALUES.map(lambda v: json.dumps(v, default=str).encode("utf-8", "replace")),
    st.none() | st.integers(1, 3),
)  # fmt: skip
@example(".json", b"[" * 100_000, None)
def test_prompt_files_of_any_bytes(place: Path, suffix: str, content: bytes, n: int | None) -> None:
    path = place / f"mine{suffix}"
    path.write_bytes(content)

    def loaded() -> None:
        found = prompts.load(str(path), n, place)
        assert found.texts and all(found.texts) and found.revision

    refused_or(loaded)


def altered(draw: Any, whole: bytes) -> bytes:
    """A LoRA's file with some bytes changed, cut or put in, mostly in its header."""
    content = bytearray(whole)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(
            st.integers(0, min(len(content), draw(st.sampled_from([8, header, 10**9]))) - 1)
        )
        how = draw(st.sampled_from(["flip", "cut", "insert"]))
        if how == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=9))
        elif place > 0:
            del content[place:]
    return bytes(content)


@st.composite
def lora_files(draw: Any, whole: bytes) -> bytes:
    kind = draw(st.sampled_from(["altered", "bytes", "tensors"]))
    if kind == "bytes":
        return bytes(draw(st.binary(max_size=80)))
    if kind == "tensors":
        names = st.sampled_from(["unet.mid_block.lora_A.weight", "lora", "x", "", "unet..lora_B"])
        shapes = st.lists(st.integers(0, 3), max_size=3)
        drawn = draw(st.dictionaries(names, shapes, max_size=3))
        return save({name: np.ones(shape, np.float32) for name, shape in drawn.items()})
    return altered(draw, whole)


@settings(EXAMPLES, max_examples=40)
@given(data=st.data())
def test_loras_of_any_bytes(place: Path, tiny_base: Path, tiny_lora: Path, data: Any) -> None:
    """Refused by the plan or by the loader, or sampled from: never a traceback."""
    import torch

    from bench.contestants import files, pipelines

    whole = (tiny_lora / files.LORA_FILE).read_bytes()
    path = place / "mine.safetensors"
    path.write_bytes(data.draw(lora_files(whole)))
    mine = contestants.read("mine", {"lora": str(path), "base": str(tiny_base)}, (1,))

    def loaded() -> None:
        files.whole(path)
        pipelines.pipeline(mine, path, torch.device("cpu"))

    refused_or(loaded)


RECIPE = {"method": "lcm", "steps": 2, "batch": 1, "lr": 1e-3}


@EXAMPLES
@given(st.dictionaries(st.sampled_from([*(f.name for f in fields(Recipe)), "extends"]) | WORDS,
                       VALUES, max_size=3))  # fmt: skip
@example({"extends": "\x00"})
@example({"extends": "mine"})
@example({"extends": ["a", {"b": "c/d"}]})
@example({"extends": "../x"})
@example({"options": "${steps}", "steps": "${options}"})
def test_recipes_of_any_values(place: Path, changes: dict[str, Any]) -> None:
    path = place / "mine.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}, allow_unicode=True), encoding="utf-8")
    refused_or(lambda: recipe.load(path).identity)
