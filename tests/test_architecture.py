"""The house's arrows (docs/architecture.md): who may import whom, without a circle.

Imports inside functions and under TYPE_CHECKING count as any other.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY = {
    "run": {"contestants", "suite", "metrics", "statistics", "results"},
    "report": {"study", "statistics", "results"},
    "check": {"statistics", "results"},
    "contestants": {"suite", "results"},
    "study": {"statistics", "results"},
    "suite": {"metrics", "statistics"},
    "metrics": {"statistics", "results"},
    "statistics": {"results"},
    "results": set[str](),
}
FLAT = 5  # files beside the rooms, at most
ANYBODY = "bench.errors"


def modules() -> dict[str, Path]:
    """Every module of both packages by its name."""
    paths = [path for package in ("bench", "hypersd") for path in (ROOT / package).rglob("*.py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of both packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & known.keys()) or {str(node.module)}
    return found & known.keys()


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(path, known) - {name} for name, path in known.items()}


def room(name: str) -> str:
    """The room of a module of bench: a folder's name, or "" for a file beside the rooms."""
    part = [*name.split("."), ""][1]
    return part if part in MAY else ""


def is_guest(target: str, name: str) -> bool:
    """Whether the world is imported by a module that is no part of it."""
    world = "hypersd.shapes"
    return target.startswith(world) and not name.startswith(world)


def test_arrows_go_down(graph: dict[str, set[str]]) -> None:
    against = [
        f"{name} -> {target}"
        for name, targets in graph.items()
        for target in targets
        if name.startswith("bench") and target.startswith("bench") and target != ANYBODY
        and room(name) and room(target) != room(name) and room(target) not in MAY[room(name)]
    ]  # fmt: skip
    assert against == []


def test_hypersd_knows_neither_the_benchmark_nor_the_world_that_is_its_guest(
    graph: dict[str, set[str]],
) -> None:
    against = [
        f"{name} -> {target}"
        for name, targets in graph.items()
        for target in targets
        if name.startswith("hypersd") and (target.startswith("bench") or is_guest(target, name))
    ]
    assert against == []


def test_nothing_imports_in_a_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_rooms_hold_all_but_a_few_files() -> None:
    assert len(list((ROOT / "bench").glob("*.py"))) <= FLAT
