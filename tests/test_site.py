"""The site of docs/: built from nothing, without a dead link, with the docstrings in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")


def build(out: Path, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out), *words],
        cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip


def test_every_page_and_the_api(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (tmp_path / name / "index.html").is_file()
    assert "like for like" in (tmp_path / "index.html").read_text(encoding="utf-8")
    api = (tmp_path / "api" / "hypersd" / "index.html").read_text(encoding="utf-8")
    assert 'id="hypersd.losses.distribution_matching_loss"' in api
    assert "arXiv 2311.18828" in api


def test_a_dead_link_fails(tmp_path: Path) -> None:
    for name in ("docs", "mkdocs.yml", "README.md"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    page = tmp_path / "docs" / "world.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[gone](nowhere.md)\n", encoding="utf-8")
    done = build(tmp_path / "site", cwd=tmp_path)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
