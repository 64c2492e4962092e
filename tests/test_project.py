"""The project about itself: what its pages say is what there is, and what ships stays small."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench import cli
from bench.metrics.networks import NETWORKS
from bench.suite import suite
from hypersd import recipe

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = [
    "pip install -e . && python bench.py suite=shapes_1step",
    "pip install -e '.[test]' && pytest",
]
DOCS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", *DOCS]
MAX_WEIGHTS = 80 * 2**20
TEXT = {".cfg", ".css", ".j2", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ""}
# Split, so that this file does not hold what it forbids.
FORBIDDEN = ["/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/", "py" + "pi", "index-" + "url"]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files that git knows; skips outside of a checkout."""
    words = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_ci_runs_the_commands_of_the_readme() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL)
    assert blocks[0].splitlines() == COMMANDS
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "list"], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == COMMANDS


@pytest.mark.parametrize("page", PAGES)
def test_named_suites_and_recipes_exist(page: str) -> None:
    text = read(page)
    known = {*suite.names(), *recipe.names(), *NETWORKS}
    assert {name for name in re.findall(r"\bshapes_\w+", text) if name not in known} == set()
    for key, names in (("suite", suite.names()), ("recipe", recipe.names())):
        for name in re.findall(rf"(?<![\w.]){key}=([a-z]\w*)(?![\w./])", text):
            assert name in names, f"{page}: {key}={name}"


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_tests_exist(page: str) -> None:
    text = read(page)
    files = list(ROOT.glob("tests/**/test_*.py"))
    tests = {path.stem for path in files}
    for path in files:
        tests |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M))
    assert {name for name in re.findall(r"\btest_\w+", text) if name not in tests} == set()
    places = re.findall(r"\b(?:bench|hypersd|tests|suites|docs)/[\w/.]*\w\.(?:py|yaml|md)\b", text)
    places += re.findall(r"\]\(([\w./]+)\)", text)
    folder = (ROOT / page).parent
    lost = {p for p in places if not (ROOT / p).exists() and not (folder / p).exists()}
    assert lost == set()


def test_every_suite_and_shipped_recipe_is_documented() -> None:
    text = read("docs/command_line.md")
    assert [name for name in suite.names() if f"`{name}`" not in text] == []
    text = read("docs/recipes.md")
    assert [name for name in recipe.names() if f"`{name}`" not in text] == []


def test_the_page_on_the_command_line_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out in read("docs/command_line.md")


def test_the_readme_is_read_in_minutes() -> None:
    assert len(read("README.md").splitlines()) <= 130


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert version in read("CHANGELOG.md")


def test_weights_stay_small() -> None:
    files = list((ROOT / "hypersd" / "shapes" / "weights").rglob("*"))
    assert sum(path.stat().st_size for path in files if path.is_file()) <= MAX_WEIGHTS


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    found = []
    for path in tracked():
        if path.suffix in TEXT:
            text = path.read_text(encoding="utf-8", errors="ignore").lower()
            found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert found == []


def test_no_text_file_depends_on_the_locale() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for room in ("bench", "hypersd", "benchmarks")
        for path in sorted((ROOT / room).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _depends_on_the_locale(call)
    ]
    assert found == []


def _depends_on_the_locale(call: ast.Call) -> bool:
    """Whether a call of read_text, write_text or open is of text in no named encoding."""
    name, arguments = ast.unparse(call.func), call.args
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or name in ("Image.open", "tarfile.open", "os.open"):
        return False
    if name.endswith((".read_text", ".write_text")):
        return len(arguments) < (2 if name.endswith(".write_text") else 1)
    if name != "open" and not name.endswith(".open"):
        return False
    mode = given.get("mode", next(iter(arguments[name == "open" :]), None))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
