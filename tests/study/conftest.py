"""A made-up run: noise of another strength per contestant, HPS scores that follow it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.report import html
from bench.results import summary
from bench.results.summary import Contestant, Summary
from bench.run.folder import write_scores
from bench.study import material as materials
from bench.study.desk import Desk
from bench.study.material import Material
from bench.study.pictures import Album
from bench.study.store import VoteStore

NOISE = {"lcm-1step": 110, "tcd-1step": 70, "tscd-1step": 40, "teacher-25step": 10, "real": 0}
PROMPTS = 8
SIDE = 32


def _row(name: str) -> Contestant:
    method, _, steps = name.partition("-")
    count = int(steps.removesuffix("step")) if steps else None
    return Contestant(name, method, count, count, f"{method}-0123", PROMPTS, [0], "Apache-2.0")


def write_run(run: Path) -> Path:
    """result.json, prompts.jsonl, pictures and scores of a run that never was."""
    lines = [json.dumps({"index": i, "text": f"<b>prompt</b> {i}"}) for i in range(PROMPTS)]
    run.mkdir(parents=True, exist_ok=True)
    (run / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for place, (name, noise) in enumerate(NOISE.items()):
        rng = np.random.default_rng(place)
        folder = run / "images" / name
        folder.mkdir(parents=True)
        for i in range(PROMPTS):
            plain = np.full((SIDE, SIDE, 3), 20 * i + 40.0) * (1, 0.8, 0.6)
            noisy = (plain + noise * rng.normal(size=plain.shape)).clip(0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i:05d}.png")
        hps = 70 - noise / 10 + rng.normal(size=PROMPTS)
        write_scores(run, name, {"hps": hps, "hps.prompts": np.arange(PROMPTS)})
    rows = [_row(name) for name in NOISE]
    found = Summary("shapes_1step", "0f3a9c1d22aa", {}, {"report": 0.1}, rows, title="A run")
    summary.write(found, run / "result.json")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run's folder."""
    return write_run(tmp_path / "run")


@pytest.fixture
def material(run: Path) -> Material:
    return materials.read(run)


@pytest.fixture
def store(material: Material) -> Iterator[VoteStore]:
    opened = VoteStore(material.database, material.identity)
    yield opened
    opened.close()


@pytest.fixture
def desk(material: Material, store: VoteStore) -> Desk:
    return Desk(material, store)


@pytest.fixture
def album(material: Material, store: VoteStore) -> Album:
    return Album(material, store.secret)


@pytest.fixture
def served(desk: Desk, album: Album) -> Iterator[Callable[..., str]]:
    """(target=60, token=None, hosts=...) -> address of a server that runs in a thread."""
    from bench.study.server import Requests, app, listen, server

    stops: list[Callable[[], None]] = []

    def start(target: int = 60, token: str | None = None) -> str:
        waiting = listen("127.0.0.1", 0)
        made = server(app(Requests(desk, album, target, token), ["127.0.0.1"]))
        thread = threading.Thread(target=made.run, kwargs={"sockets": [waiting]}, daemon=True)
        thread.start()

        def stop() -> None:
            made.should_exit = True
            thread.join(30)

        stops.append(stop)
        deadline = time.monotonic() + 60
        while not made.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return f"http://127.0.0.1:{waiting.getsockname()[1]}"

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def study_on_page() -> Callable[[Path], str]:
    """(run) -> the study's part of the page of its report."""

    def part(run: Path) -> str:
        page = html.page(summary.read(run / "result.json"), run)
        return page[page.index('<section id="study">') : page.index('<section id="how">')]

    return part
