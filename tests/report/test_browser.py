"""The page in Chromium: no error, no request, nothing wider than the screen, light and dark."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report import html, runfiles, selection
from bench.results.summary import Summary
from tests.report import synthetic

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


@pytest.fixture(scope="module")
def scored_path(made_up: tuple[Path, Summary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with scores by prompt; its folder has pictures of more prompts than the page."""
    run = Path(shutil.copytree(made_up[0], tmp_path_factory.mktemp("scored") / "run"))
    return html.render(made_up[1], run)


@pytest.fixture(scope="module")
def wide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven contestants, of whom the command changes one."""
    run = tmp_path_factory.mktemp("wide") / "run"
    rows = [(m, s) for s in (1, 2, 4) for m in ("lcm", "tcd", "hyper_sd")] + [("tscd", 4)]
    made = synthetic.write(run, 12, rows=[*rows, ("teacher", 25)])
    command = "python bench.py suite=synthetic contestants.tcd.eta=0.1"
    return html.render(replace(made, environment={"command": command}), run)


class Opened:
    """A page, what its console said and what it asked for."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.page = browser.new_page(**settings)
        self.page.set_default_timeout(120_000)  # a busy machine is no failure
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("networkidle")
        self.own = path.as_uri()

    def is_quiet(self) -> bool:
        """No word on the console, and nothing loaded but the file itself."""
        return not self.said and [u for u in self.asked if not u.startswith("data:")] == [self.own]


@pytest.fixture
def scored(browser: Any, scored_path: Path) -> Iterator[Opened]:
    """The run with scores, opened; at the end it must have been quiet."""
    opened = Opened(browser, scored_path, viewport={"width": 1280, "height": 900})
    yield opened
    assert opened.is_quiet(), (opened.said, opened.asked)
    opened.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_opens_offline_without_errors_at_any_width(
    browser: Any, page_path: Path, scheme: str, width: int
) -> None:
    settings = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    opened = Opened(browser, page_path, **settings)
    page = opened.page
    assert opened.is_quiet(), (opened.said, opened.asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )
    assert shown
    assert is_dark(page) == (scheme == "dark")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("details table tbody tr").count() > 144
    page.close()


def is_dark(page: Any) -> bool:
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, paper.removeprefix("rgb(").rstrip(")").split(","))) < 200


def test_hostile_text_is_shown_as_text(browser: Any, page_path: Path) -> None:
    opened = Opened(browser, page_path)
    page = opened.page
    assert page.title() == f"Title {EVIL}"
    page.select_option("#pick-order", "number")
    assert EVIL in page.locator("#gallery-rows li").first.inner_text()
    assert EVIL in page.locator("#viewer-prompt").inner_text()
    assert page.locator("body script").count() == 2
    assert opened.is_quiet(), (opened.said, opened.asked)
    page.close()


def test_without_script_there_are_still_pictures_and_tables(browser: Any, page_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_path.as_uri())
    assert page.locator(".gallery img").count() == 6 * 16
    assert page.locator("#results-table tbody tr").count() == 16 + 6
    assert not page.locator("#gallery").is_visible()
    context.close()


def column(page: Any, number: int) -> list[float]:
    cells = page.locator(f"#results-table tbody tr:not(.group) td:nth-child({number})")
    return [float(v) for v in cells.evaluate_all("all => all.map(c => c.dataset.value)")]


def test_columns_sort_best_first_then_worst_first_then_as_before(scored: Opened) -> None:
    page = scored.page
    before = column(page, 4)
    head = page.locator("#results-table thead th").nth(3)  # CLIP, higher is better
    button = head.locator("button")
    button.focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 4) == sorted(before, reverse=True)
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 4) == sorted(before)
    button.click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, 4) == before
    assert page.locator("#results-table tr.group").count() == 3


def test_filtering_the_table(scored: Opened) -> None:
    page = scored.page
    page.fill("[data-filter=results-table]", "tcd 4step")
    names = page.locator("#results-table tbody tr:not(.group):visible th")
    assert names.all_inner_texts() == ["tcd-4step"]
    assert page.locator("#results-table tr.group:visible").all_inner_texts() == ["4 steps"]
    assert page.locator("[data-count=results-table]").inner_text() == "1 of 8"
    page.fill("[data-filter=results-table]", "")
    assert names.count() == 8


def test_the_slider_moves_by_key_and_by_pointer(scored: Opened) -> None:
    page = scored.page
    page.select_option("#pick-a", label="tscd-4step")
    page.select_option("#pick-b", label="lcm-1step")
    assert page.locator("#over").get_attribute("alt").startswith("tscd-4step: ")
    assert page.locator("#under").get_attribute("alt").startswith("lcm-1step: ")
    cut = page.locator("#cut")
    cut.focus()
    page.keyboard.press("ArrowRight")
    assert cut.get_attribute("aria-valuetext") == "51 % tscd-4step"
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    assert abs(float(cut.input_value()) - 20) < 3
    clip = page.locator("#over").evaluate("e => getComputedStyle(e).clipPath")
    assert "inset(0px" in clip
    page.keyboard.press("End")
    assert cut.input_value() == "100"


def test_orders_are_those_of_the_scores(scored: Opened, made_up: tuple[Path, Summary]) -> None:
    page = scored.page
    files = runfiles.read(made_up[1], made_up[0])
    page.select_option("#pick-a", label="lcm-4step")
    page.select_option("#pick-b", label="tcd-4step")
    page.select_option("#pick-metric", label="CLIP")
    delta = files.difference("lcm-4step", "tcd-4step", "clip")
    assert delta is not None
    apart = selection.distance(files, "lcm-4step", "tcd-4step")
    for order, expected in (("gains", np.argmax(delta)), ("losses", np.argmin(delta)),
                            ("different", np.argmax(apart))):  # fmt: skip
        page.select_option("#pick-order", order)
        assert page.locator("#viewer-prompt .ordinal").inner_text() == str(expected)
        row = page.locator("#viewer-scores tbody tr", has_text="CLIP").locator("td")
        shown = float(row.nth(2).inner_text().replace("\u2212", "-"))
        assert abs(shown - delta[expected]) < 0.02
    page.locator("#next").click()
    second = int(np.argsort(-apart)[1])
    assert page.locator("#viewer-prompt .ordinal").inner_text() == str(second)


def test_the_gallery_filters_pages_and_links(scored: Opened) -> None:
    page = scored.page
    assert page.locator("#gallery-rows > li").count() == 8
    page.locator("#more").click()
    assert page.locator("#gallery-rows > li").count() == 16
    page.fill("#pick-words", "beside 17")
    assert page.locator("#gallery-rows > li").count() == 1
    tiles = page.locator("#gallery-rows figure")
    assert tiles.count() == 8
    assert tiles.first.locator("a").get_attribute("href") == "images/lcm-1step/00017.png"
    page.locator(".who summary").click()
    page.locator("#pick-shown input").first.uncheck()
    assert tiles.count() == 7
    page.fill("#pick-words", "nothing of the kind")
    assert page.locator("#gallery-rows > li").count() == 0
    assert "No prompt matches" in page.locator("#viewer-prompt").inner_text()


@pytest.mark.parametrize("width", [1280, 1000, 700, 390])
@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_no_picture_is_left_alone_under_the_others(
    browser: Any, wide_path: Path, width: int, hidden: int
) -> None:
    """Of 11, 10 and 8 contestants; rows of tiles differ by less than a row, none has one tile."""
    page = Opened(browser, wide_path, viewport={"width": width, "height": 900}).page
    page.locator(".who summary").click()
    for box in range(hidden):
        page.locator("#pick-shown input").nth(box).uncheck()
    tops = (
        page.locator("#gallery-rows > li")
        .first.locator("figure")
        .evaluate_all("all => all.map(f => Math.round(f.getBoundingClientRect().top))")
    )
    rows = list(Counter(tops).values())
    assert sum(rows) == 11 - hidden and min(rows) > 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_slider_and_order_begin_with_the_users_contestant(browser: Any, wide_path: Path) -> None:
    page = Opened(browser, wide_path).page
    assert page.locator("#pick-a option:checked").inner_text() == "tcd-1step"
    assert page.locator("#pick-b option:checked").inner_text() == "hyper_sd-1step"
    page.close()


def test_the_first_screen_reaches_the_table(browser: Any, wide_path: Path) -> None:
    """Sentences, one figure and the first rows, on a screen of 1280 by 900."""
    page = Opened(browser, wide_path, viewport={"width": 1280, "height": 900}).page
    assert page.locator("#findings figure svg").bounding_box()["y"] < 400
    row = page.locator("#results-table tbody tr:not(.group)").nth(2).bounding_box()
    assert row["y"] + row["height"] < 900
    assert not page.locator("#pairs li").first.is_visible()
    page.close()


def test_a_click_opens_the_original_and_nothing_else_does(browser: Any, scored_path: Path) -> None:
    opened = Opened(browser, scored_path)
    assert opened.is_quiet(), (opened.said, opened.asked)
    with opened.page.expect_popup() as popup:
        opened.page.locator("#gallery-rows figure a").first.click()
    assert popup.value.url.startswith((scored_path.parent / "images").as_uri())
    popup.value.close()
    opened.page.close()


def test_dark_and_light_by_button(browser: Any, scored_path: Path) -> None:
    page = Opened(browser, scored_path, color_scheme="light").page
    assert page.locator("#theme").inner_text() == "Dark"
    page.locator("#theme").click()
    assert is_dark(page)
    assert page.locator("#theme").inner_text() == "Light"
    page.emulate_media(media="print")
    assert not is_dark(page)
    assert not page.locator("#gallery .tools").is_visible()
    page.close()


def test_every_control_and_picture_has_a_name(scored: Opened) -> None:
    nameless = scored.page.evaluate("""[...document.querySelectorAll(
        'button, select, input, a, [role=img], [role=region]')].filter(e =>
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length
          || e.querySelector('img[alt]:not([alt=""])'))).map(e => e.outerHTML.slice(0, 80))""")
    assert nameless == []
    assert scored.page.evaluate("[...document.images].every(i => i.alt !== '' || i.hidden)")
    levels = scored.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
