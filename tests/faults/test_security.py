"""Files of others hold data: nothing in them runs, and no name in them becomes a path elsewhere."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import cli
from bench.contestants import files, pipelines
from bench.errors import UsageError
from bench.suite import contestant
from hypersd import base, recipe
from hypersd.plain_yaml import load
from hypersd.trust import refuse_code

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "hypersd").rglob("*.py")])


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Path]:
    """Where a bomb would leave its mark; it must not be there in the end."""
    target = tmp_path / "pwned"
    yield target
    assert not target.exists()


def test_a_pickle_of_weights_runs_nothing(tmp_path: Path, tiny_base: Path, bomb: Path) -> None:
    path = tmp_path / "unet.bin"
    torch.save({"state_dict": Bomb(bomb)}, path)
    mine = contestant.read("mine", {"unet": str(path), "base": str(tiny_base)}, (1,))
    with pytest.raises(UsageError, match=r"unet\.bin: cannot be loaded"):
        pipelines.pipeline(mine, path, torch.device("cpu"))


def test_a_checkpoint_runs_nothing(tmp_path: Path, bomb: Path) -> None:
    from hypersd import checkpoint

    torch.save({"identity": "x", "extra": Bomb(bomb)}, tmp_path / "checkpoint-3.pt")
    assert checkpoint.newest(tmp_path) is None


def test_statistics_of_others_run_nothing(tmp_path: Path, bomb: Path) -> None:
    """Reference statistics as clean-fid and others publish them are npz, which may hold pickles."""
    import numpy as np

    from bench.metrics import references
    from hypersd.rewards.tensors import tensors

    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.array([Bomb(bomb)], dtype=object), sigma=np.zeros((1, 1)))
    with pytest.raises(UsageError, match="no statistics with mu"):
        references.read(path)
    path = tmp_path / "network.pt"
    path.write_bytes(pickle.dumps(Bomb(bomb)))
    with pytest.raises(UsageError, match="holds more than tensors"):
        tensors(path)


def edited(tiny_base: Path, folder: Path, part: str, library: str, name: str) -> Path:
    """A copy of the base whose model_index.json takes a part from elsewhere."""
    shutil.copytree(tiny_base, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: [library, name]}))
    return folder


@pytest.mark.parametrize("library", ["own_code", "diffusers", "os"])
def test_a_pipeline_with_code_of_its_own_is_refused(
    tiny_base: Path, tmp_path: Path, bomb: Path, library: str
) -> None:
    """`unet/own_code.py`, one that hides behind diffusers' name, any module that can be imported;
    by the plan already, by the loader of the bench and by that of trainings."""
    folder = edited(tiny_base, tmp_path / "theirs", "unet", library, "UNet2DConditionModel")
    code = f"import os\nos.mkdir({str(bomb)!r})\nfrom diffusers import UNet2DConditionModel\n"
    (folder / "unet" / f"{library}.py").write_text(code)
    said = f"its unet would run code of '{library}'"
    mine = contestant.read("mine", {"pipeline": str(folder)}, (1,))
    with pytest.raises(UsageError, match=said):
        files.base_folder("contestants.mine", mine)
    with pytest.raises(UsageError, match=said):
        pipelines.pipeline(mine, None, torch.device("cpu"))
    with pytest.raises(UsageError, match=said):
        base.load_base(f"{folder}/", torch.device("cpu"))


def test_a_pipeline_class_of_its_own_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = edited(tiny_base, tmp_path / "theirs", "_class_name", "pipeline", "Theirs")
    (folder / "pipeline.py").write_text("raise SystemExit")
    with pytest.raises(UsageError, match="its _class_name would run code of 'pipeline'"):
        refuse_code(folder)
    refuse_code(tiny_base)


TAGS = (
    "!!python/object/apply:os.mkdir [{target}]", "!!python/name:os.system", "!!python/module:os",
    "!!python/object/new:os.mkdir [{target}]", "!!python/object:os.mkdir {{}}",
)  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("kind", ["suite", "recipe"])
def test_yaml_makes_no_objects(tmp_path: Path, bomb: Path, tag: str, kind: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: {tag.format(target=bomb)}\n")
    with pytest.raises(UsageError, match="could not determine a constructor"):
        recipe.load(path) if kind == "recipe" else cli.read([f"suite={path}"])


@pytest.mark.parametrize("key", ["_target_", "_partial_", "_convert_", "defaults", "hydra"])
def test_a_suite_instantiates_nothing(tmp_path: Path, key: str) -> None:
    """Hydra's own way to make objects: keys of it are unknown, at the top and within."""
    path = tmp_path / "mine.yaml"
    good = "title: T\nversion: 1\nsteps: [1]\nmetrics: [clip]\nprompts: {set: shapes/test, n: 9}\n"
    for text in (f"{good}contestants: {{lcm: {{}}}}\n{key}: os.system\n",
                 f"{good}contestants: {{lcm: {{{key}: os.system}}}}\n"):  # fmt: skip
        path.write_text(text)
        with pytest.raises(UsageError, match=f"unknown key '{key}'"):
            cli.read([f"suite={path}"])


@pytest.mark.parametrize("word", ["${oc.env:HOME}", "${oc.decode:x}", "a ${hydra:runtime.cwd} b"])
def test_a_suite_reads_no_environment(tmp_path: Path, word: str) -> None:
    """A title would carry it into a report that is passed on."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: {word}\n")
    with pytest.raises(UsageError, match="calls a function"):
        load(path, "suite")
    path.write_text("title: a b\nversion: 1\nsize: ${version}\n")
    assert load(path, "suite") == {"title": "a b", "version": 1, "size": "${version}"}


def test_a_few_lines_do_not_unfold_into_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 12)]
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="alias"):
        load(path, "suite")
    path.write_text("x: 1\n" * 300_000)
    with pytest.raises(UsageError, match="above 1 MiB"):
        load(path, "suite")


NAMES = [
    "..",
    ".",
    "",
    "a/b",
    "../a",
    "/etc",
    "a\\b",
    "-rf",
    ".hidden",
    "a\0b",
    "a b",
    "ä",
    "x" * 101,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_contestants_name_is_a_safe_file_name(name: str) -> None:
    with pytest.raises(UsageError, match="a contestant's name holds"):
        contestant.read(name, {}, (1,))


def test_folders_of_images_give_no_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    with pytest.raises(UsageError, match="a contestant's name holds"):
        cli.read(["suite=shapes_1step", f"images={folder}"])


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call in the packages: (file, call, dotted name)."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node, ast.unparse(node.func)


FORBIDDEN = ("eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads",
             "yaml.load", "yaml.unsafe_load", "yaml.full_load", "hydra.utils.instantiate",
             "instantiate", "torch.hub.load", "joblib.load", "marshal.loads")  # fmt: skip


def test_no_call_runs_what_a_file_says() -> None:
    """What no test can try for every file: the packages' own text."""
    for path, call, name in calls():
        words = {word.arg: ast.unparse(word.value) for word in call.keywords}
        where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        assert name not in FORBIDDEN, where
        assert words.get("trust_remote_code", "False") == "False", where
        assert words.get("allow_pickle", "False") == "False", where
        assert words.get("shell", "False") == "False", where
        if name == "torch.load":
            assert words.get("weights_only") == "True", where


def test_names_looked_up_in_libraries_are_our_own_lists() -> None:
    """Each name that is imported when it is needed comes from a table or a constant of its file."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path, call, name in calls()
        if name.endswith(("import_module", "resolve_name", "__import__"))
    }
    assert found == {
        "bench/__init__.py", "bench/metrics/__init__.py", "hypersd/__init__.py", "hypersd/base.py",
        "hypersd/data.py", "hypersd/inputs.py", "hypersd/loop.py",
        "hypersd/rewards/__init__.py", "hypersd/rewards/structure.py",
    }  # fmt: skip
    looked_up = [ast.unparse(call.args[0]) for _, call, name in calls() if name == "resolve_name"]
    tables = r"(KINDS|EVALUATORS)\[.*\]|METHODS\[.*\]\.build|SHIPPED|WORLD|maker\.(make|network)"
    assert [words for words in looked_up if not re.fullmatch(tables, words)] == []
