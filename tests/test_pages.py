"""The commands of the pages, run in their order in a fresh working copy, as a reader would.

Commands are the lines of a fence without a language that begins with a program. An HTML comment
between the fence before and this one says what is otherwise here, where that must be:

    <!-- not run: why -->
    <!-- run with: limit=20 -->      words that go to the end of each line that draws or trains

A file that is the reader's own (`my.safetensors`) is there; a run folder that no command before it
has made is the last one that was. Installation is not repeated: `.ci/run` does it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *(f"docs/{name}.md" for name in (
    "walkthrough", "your_model", "check", "reports", "study")))  # fmt: skip
PROGRAMS = ("python", "pip", "git", "torchrun")
DRAWS = re.compile(r" (suite|recipe)=")
INSTALLED = ("pip ", "pytest")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<held>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
DIRECTIVE = re.compile(r"<!-- (not run|run with): (.*?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fence of commands, what is added to each, and why it is not run; "" where it is."""

    lines: tuple[str, ...]
    added: str = ""
    left_out: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The fences of commands of a page, in order."""
    end = 0
    for fence in FENCE.finditer(text):
        before, end = text[end : fence.start()], fence.end()
        held = fence["held"].replace("\\\n", " ")
        lines = tuple(line.strip() for line in held.splitlines() if line.strip())
        if fence["language"] or not lines or lines[0].split()[0] not in PROGRAMS:
            continue
        said = dict(DIRECTIVE.findall(before))
        yield Block(lines, said.get("run with", ""), said.get("not run", ""))


def commands(page: str) -> list[str]:
    """What of a page is run, line by line."""
    found = []
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        for line in () if block.left_out else block.lines:
            parts = [part for part in line.split(" && ") if not part.startswith(INSTALLED)]
            found += [
                f"{part} {block.added}".strip() if DRAWS.search(part) else part for part in parts
            ]
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this tree that git knows or would, in a repository of their own."""
    folder = tmp_path_factory.mktemp("copy")
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(listed, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    tcd = folder / "hypersd/shapes/weights/tcd/pytorch_lora_weights.safetensors"
    shutil.copyfile(tcd, folder / "my.safetensors")
    return folder


def made_before(folder: Path, command: str) -> None:
    """Let each run folder that a command reads, and nothing has made, be the newest there is."""
    for value in re.findall(r"\bruns?=\[?([^\s\]]+)", command):
        for path in [folder / name for name in value.split(",")]:
            if path.exists():
                continue
            found = [*(folder / "runs").glob("*/result.json")] or [a_run(folder)]
            newest = max(found, key=lambda path: path.stat().st_mtime)
            path.symlink_to(newest.parent.resolve())


def a_run(folder: Path) -> Path:
    typed(folder, "python bench.py suite=shapes_1step limit=20 out=runs/any")
    return folder / "runs/any/result.json"


def typed(folder: Path, command: str) -> None:
    """Run a line of a page; what it printed is shown where it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}
    words = ["bash", "-c", command]
    done = subprocess.run(words, cwd=folder, env=names, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(page: str, copy: Path) -> None:
    """Each ends with exit code 0. Pages share no run folder, but what runs have cached."""
    for made in (copy / "runs").glob("*"):
        if made.is_symlink():
            made.unlink()
        elif made.name != "cache":
            shutil.rmtree(made)
    found = commands(page)
    assert found
    for command in found:
        made_before(copy, command)
        typed(copy, command)


def test_what_a_page_leaves_out_says_why() -> None:
    """And nothing is left out but what needs a GPU, the hub, or somebody who stops it."""
    for page in PAGES:
        for block in blocks((ROOT / page).read_text(encoding="utf-8")):
            assert not block.left_out or len(block.left_out) > 10, (page, block.lines)


def test_a_block_is_read_with_what_is_said_above_it() -> None:
    text = (
        "First:\n\n```\npip install x && python a.py one=1\n```\n"
        "\nthen <!-- run with: limit=2 -->\n"
        "\n```\npython a.py \\\n    two=2\ngit add x\n```\n\n```yaml\npython: 3\n```\n"
        "<!-- not run: serves until stopped -->\n   ```\n   python b.py\n   ```\n"
        "```\n  a table\n```\n"
    )
    assert list(blocks(text)) == [
        Block(("pip install x && python a.py one=1",)),
        Block(("python a.py      two=2", "git add x"), added="limit=2"),
        Block(("python b.py",), left_out="serves until stopped"),
    ]
