"""The page in Chromium: no error, no request, nothing wider than the screen, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import html
from bench.summary import Summary

pytestmark = pytest.mark.browser
EVIL = '<script>document.title = "taken"</script><img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium from the system, or the one that playwright installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_path(
    tmp_path_factory: pytest.TempPathFactory,
    example_summary: Callable[..., Summary],
    write_pictures: Callable[..., None],
) -> Path:
    """A run of four step counts with a hostile prompt, contestant name and title."""
    run = tmp_path_factory.mktemp("run")
    summary = example_summary(steps=(1, 2, 4, 8), limit=100)
    write_pictures(summary, run)
    lines = (run / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    lines[0] = '{"index": 0, "text": "' + EVIL.replace('"', '\\"') + '"}'
    (run / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return html.render(replace(summary, title=f"Title {EVIL}"), run)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_opens_offline_without_errors_at_any_width(
    browser: Any, page_path: Path, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_path.as_uri())
    page.wait_for_load_state("networkidle")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )
    assert shown
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, paper.removeprefix("rgb(").rstrip(")").split(","))) < 200
    assert dark == (scheme == "dark")
    page.close()


def test_hostile_text_is_shown_as_text(browser: Any, page_path: Path) -> None:
    page = browser.new_page()
    page.goto(page_path.as_uri())
    assert page.title() == f"Title {EVIL}"
    assert page.locator("script").count() == 0
    assert page.locator("#pictures tbody th").first.inner_text() == EVIL
    page.close()


def test_every_section_can_be_opened(browser: Any, page_path: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(page_path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    rows = page.locator("details table tbody tr").count()
    assert rows > 144
    page.close()
