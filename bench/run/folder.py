"""The run folder: claimed by one process at a time, and never shared by two different runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.contestants import identity
from bench.errors import UsageError, os_words
from bench.results.command import this_command
from bench.results.entries import Entry, write_entry
from bench.results.keys import Key
from bench.results.lossless import THREADS
from bench.run.plan import Plan
from hypersd.hashes import Hashes
from hypersd.whole_files import written_whole


@contextmanager
def claim(plan: Plan) -> Iterator[Path]:
    """The plan's run folder, made and locked; run.json and prompts.jsonl are written.

    Raises UsageError: it cannot be made, another run is at work in it, or it holds another one.
    """
    out = plan.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"out={out}: another run is at work there; wait, or choose another"
        ) from None
    except OSError as error:
        raise UsageError(f"out={out}: {os_words(error)}") from None
    try:
        _same_run(plan, out)
        _write(out / "run.json", json.dumps(_about(plan), indent=1) + "\n")
        _write(out / "prompts.jsonl", _prompt_lines(plan))
        yield out
    finally:
        lock.release()


def _about(plan: Plan) -> dict[str, Any]:
    return {
        "suite": plan.suite.name,
        "protocol": plan.protocol,
        "contestants": plan.contestants,
        "parts": _parts(plan),
        "limit": plan.options.limit,
        "pictures": plan.options.pictures,
        "command": plan.options.call or this_command(),
        "resolved": dataclasses.asdict(plan.suite),
    }


def _parts(plan: Plan) -> dict[str, Any]:
    """The parts of every contestant's identity, by row; no file is read twice."""
    hashes = Hashes(plan.options.cache / "hashes.json")
    rows = [planned.row for planned in plan.rows if not planned.fault]
    return {row.name: identity.parts(row, plan.prompts, hashes) for row in rows}


def holds(plan: Plan, out: Path) -> bool:
    """Whether a folder is this run's, claimed by whichever process leads it."""
    try:
        _same_run(plan, out)
    except UsageError:
        return False
    return (out / "run.json").is_file()


def _same_run(plan: Plan, out: Path) -> None:
    path = out / "run.json"
    if not path.is_file():
        return
    try:
        held = json.loads(path.read_bytes())
        theirs = held["suite"], held["protocol"], held["contestants"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"out={out}: its run.json is damaged; choose another folder") from None
    if theirs[0] != plan.suite.name:
        raise UsageError(f"out={out}: holds a run of suite {theirs[0]!r}; choose another folder")
    for what, mine, other in (("protocol", plan.protocol, theirs[1]),
                              ("contestants", plan.contestants, theirs[2])):  # fmt: skip
        if mine != other:
            raise UsageError(
                f"out={out}: holds a run of {plan.suite.name} with another {what}; choose another"
            )


def _prompt_lines(plan: Plan) -> str:
    texts = {key.index: key.prompt for key in plan.keys}
    rows = ({"index": index, "text": text} for index, text in sorted(texts.items()))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.translate({ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"})


def _write(path: Path, text: str) -> None:
    try:
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {os_words(error)}") from None


def write_images(out: Path, name: str, images: Mapping[int, NDArray[np.uint8]]) -> list[str]:
    """`images/<contestant>/<prompt index>.png` for pictures that a report may show.

    Written in threads. What is there stays; one that is damaged is made again, and named in what
    comes back.
    """
    folder = out / "images" / name
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}.png" for index in images]
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(_write_image, paths, images.values()))
    return [f"images/{name}/{path.name}: {fault}; made again"
            for path, fault in zip(paths, found, strict=True) if fault]  # fmt: skip


def _write_image(path: Path, image: NDArray[np.uint8]) -> str | None:
    """Write a picture where there is none that is sound; what was wrong with the one there."""
    from PIL import Image

    from bench.results.pictures import damage

    found = damage(path) if path.is_file() else None
    if found is None and path.is_file():
        return None
    # The fastest level: at 1024 px a fifth of the usual one's time for a tenth more bytes.
    with written_whole(path, synced=False) as beside:
        Image.fromarray(image).save(beside, format="PNG", compress_level=1)
    return found


def write_scores(out: Path, name: str, scores: Mapping[str, NDArray[Any]]) -> None:
    """`scores/<contestant>.safetensors`: per-prompt scores by metric."""
    write_entry(out / "scores" / f"{name}.safetensors", Entry(dict(scores), {"contestant": name}))


def write_features(
    out: Path, name: str, features: Mapping[str, NDArray[Any]], keys: Sequence[Key]
) -> None:
    """`features/<contestant>.safetensors`: what distances are made of, [N, D] by extractor.

    `index` and `seed` [N] say whose row is which.
    """
    whose = {"index": np.array([k.index for k in keys]), "seed": np.array([k.seed for k in keys])}
    entry = Entry({**features, **whose}, {"contestant": name})
    write_entry(out / "features" / f"{name}.safetensors", entry)
