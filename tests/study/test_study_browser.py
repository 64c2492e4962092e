"""The page in Chromium: two raters at once, keyboard, touch, resume, undo, and the static copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.study import sections
from bench.study.desk import Desk
from bench.study.offline import Copy, bring_in, export
from bench.study.pictures import Album
from bench.study.store import VoteStore

pytestmark = pytest.mark.browser
WAIT = 60_000  # ms; only a busy machine needs them
KEYS = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
CHOICES = ("left", "right", "tie", "both_bad")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium from the system, or the one that playwright installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=WAIT)
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


class Person:
    """A rater at a browser of their own."""

    def __init__(self, browser: Any, address: str, name: str, **options: Any) -> None:
        from playwright.sync_api import expect

        self.expect, self.said = expect, []
        self.page = browser.new_context(**options).new_page()
        self.page.set_default_timeout(WAIT)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(address)
        self.enter(name)

    def enter(self, name: str) -> None:
        self.page.fill("#name", name)
        self.page.press("#name", "Enter")
        self.expect(self.page.locator("#start")).to_be_hidden()

    def sees(self, done: int, target: int) -> None:
        """Waits for the pair after `done` votes, its pictures there."""
        self.expect(self.page.locator("#count")).to_have_text(f"{done} of {target}")
        self.expect(self.page.locator("#voting")).to_have_attribute("aria-busy", "false")
        sizes = "[...document.querySelectorAll('.frame img')].map(i => i.naturalWidth)"
        assert self.page.evaluate(sizes) == [32, 32]


def test_a_study_of_sixty_votes_by_two_raters_at_once(
    browser: Any, served: Callable[..., str], store: VoteStore, run: Path
) -> None:
    address = served(target=30)
    ana = Person(browser, address, "Ana", viewport={"width": 1280, "height": 800})
    ben = Person(browser, address, "Ben", viewport={"width": 390, "height": 844}, has_touch=True)
    for i in range(30):
        for person in (ana, ben):
            person.sees(i, 30)
        ana.page.keyboard.press(KEYS[i % 4])
        ben.page.tap(f'[data-choice="{CHOICES[i % 3]}"]')
    for person in (ana, ben):
        person.expect(person.page.locator("#end")).to_be_visible()
        assert person.said == []
        width = person.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0
    votes = store.votes()
    assert len(votes) == 60
    assert [v.choice for v in votes if v.rater.name == "Ana"] == [CHOICES[i % 4] for i in range(30)]
    assert [v.choice for v in votes if v.rater.name == "Ben"] == [CHOICES[i % 3] for i in range(30)]
    found = sections.study_section(run)
    assert found is not None
    assert sum(line.votes + line.checks for line in found.panels[0].raters) == 60
    for person in (ana, ben):
        person.page.context.close()


def test_undo_reload_and_an_answer_that_does_not_come(
    browser: Any, served: Callable[..., str], store: VoteStore
) -> None:
    ana = Person(browser, served(target=3), "Ana")
    ana.sees(0, 3)
    first = (
        ana.page.locator("#prompt").inner_text(),
        ana.page.locator("#left img").get_attribute("src"),
    )
    ana.page.click("#left")
    ana.sees(1, 3)
    ana.page.keyboard.press("Backspace")
    ana.sees(0, 3)
    again = (
        ana.page.locator("#prompt").inner_text(),
        ana.page.locator("#left img").get_attribute("src"),
    )
    assert again == first and store.votes() == []
    ana.page.click("#right")
    ana.sees(1, 3)
    ana.page.reload()
    assert ana.page.input_value("#name") == "Ana"
    ana.enter("Ana")
    ana.sees(1, 3)
    ana.page.route("**/vote", lambda route: route.abort())
    ana.page.click("#left")
    ana.expect(ana.page.locator("#trouble")).to_contain_text("does not answer")
    assert len(store.votes()) == 1
    ana.page.unroute("**/vote")
    ana.page.click("#left")
    ana.sees(2, 3)
    ana.expect(ana.page.locator("#trouble")).to_be_hidden()
    ana.page.focus("#right")
    ana.page.keyboard.press("Enter")
    ana.expect(ana.page.locator("#end")).to_be_visible()
    ana.page.click("#more")
    ana.sees(3, 3)
    assert [v.choice for v in store.votes()] == ["right", "left", "right"]
    ana.page.context.close()


def test_names_and_roles_are_there_for_a_screen_reader(
    browser: Any, served: Callable[..., str]
) -> None:
    ana = Person(browser, served(target=9), "Ana")
    ana.sees(0, 9)
    for name in ("Left", "Right", "No difference", "Both bad", "Undo"):
        assert ana.page.get_by_role("button", name=name).count() >= 1
    assert ana.page.get_by_role("progressbar").count() == 1
    assert ana.page.get_by_role("img", name="Left picture").count() == 1
    said = ana.page.locator("#said")
    assert said.get_attribute("aria-live") == "polite"
    assert ana.page.locator("#prompt").inner_text() in said.inner_text()
    assert "<b>" in ana.page.locator("#prompt").inner_text()  # shown as text, not as markup
    ana.page.context.close()


def test_votes_on_a_static_copy_come_back(
    browser: Any, desk: Desk, album: Album, store: VoteStore, tmp_path: Path
) -> None:
    copy = Copy(desk.material, album)
    export(copy, tmp_path / "copy", 4)
    ana = Person(browser, (tmp_path / "copy" / "index.html").as_uri(), "Ana", accept_downloads=True)
    for i in range(3):
        ana.sees(i, 4)
        ana.page.keyboard.press(KEYS[i])
    ana.sees(3, 4)
    ana.page.keyboard.press("Backspace")
    ana.sees(2, 4)
    ana.page.keyboard.press("ArrowDown")
    ana.sees(3, 4)
    ana.page.reload()
    ana.enter("Ana")
    ana.sees(3, 4)
    ana.page.keyboard.press("ArrowLeft")
    ana.expect(ana.page.locator("#end")).to_be_visible()
    with ana.page.expect_download() as download:
        ana.page.click("#save")
    path = tmp_path / "votes.json"
    download.value.save_as(path)
    assert ana.said == []
    assert bring_in(copy, store, path).entered == 4
    assert [v.choice for v in store.votes()] == ["left", "right", "both_bad", "left"]
    ana.page.context.close()
