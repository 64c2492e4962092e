"""Holds metrics of published networks against the values that their publishers print.

A run on a published base does it once for each metric, when its pictures are drawn: it fetches a
few public pictures, scores them with its own weights, and says *as published* or *deviates*, in the
ledger and above the findings. What it found is kept in the data folder, by the metric's identity.
Where the pictures cannot be had it says so, and goes on.

    python -m bench.run.known_answers [METRIC ...] [folder=DIR]

does the same without a run, for pictures of DIR where that is given. Values and their sources:
bench/metrics/known_answers.yaml.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, exit_code, nearest
from bench.metrics import Metric, extractor, metric
from bench.results import places
from bench.run.metric_identities import metric_of
from bench.suite.suite import Suite
from hypersd import hub_client, picture_reader
from hypersd.plain_yaml import load
from hypersd.validation import Text, read
from hypersd.whole_files import written_whole

DATA = Path(__file__).parents[1] / "metrics/known_answers.yaml"
COMMAND = "python -m bench.run.known_answers"
OF_A_RUN = (
    "precision",
    "reference",
    "against",
)  # settings that leave a metric's values as they are


@dataclass(frozen=True)
class Answer:
    """A picture's published value for a prompt. sha256: of its file, where that is known."""

    picture: Text
    value: float
    prompt: Text
    sha256: str = ""


@dataclass(frozen=True)
class Answers:
    """Published values of a metric. pictures: the address of their folder.  tolerance: the largest
    difference that is none.  relative: only differences from the first value are published.
    settings: of the metric that they are of.
    """

    source: Text
    pictures: Text
    tolerance: float
    answers: tuple[Answer, ...]
    relative: bool = False
    settings: dict[str, str] = field(default_factory=dict)


@cache
def known() -> dict[str, tuple[Answers, ...]]:
    """By metric, those that somebody published."""
    return read(dict[str, tuple[Answers, ...]], load(DATA, DATA.name), DATA.name)


def of_suite(suite: Suite) -> Iterator[tuple[str, Answers]]:
    """(metric, values) of what somebody published of a suite's metrics, as it sets them."""
    for name in suite.metrics if suite.published else ():
        given = suite.metric_settings.get(name, {})
        own = {key: value for key, value in given.items() if key not in OF_A_RUN}
        yield from ((name, one) for one in known().get(name, ()) if one.settings == own)


def said(suite: Suite, metrics: Mapping[str, str]) -> list[str]:
    """For the ledger: what was found of each metric of a run that has published values.

    metrics: identities by name.
    """
    kept = _kept()
    lines = [
        kept.get(_key(metrics[name], expected),
                 f"{name}: not held against published values yet; {COMMAND} {name}")
        for name, expected in of_suite(suite)
        if name in metrics
    ]  # fmt: skip
    return list(dict.fromkeys(lines))


def hold(suite: Suite, metrics: Mapping[str, str], device: str) -> Iterator[str]:
    """Hold a run's metrics against published values that they were not held against before; lines
    on what came out, or why it could not be done, which never ends a run.

    metrics: identities by name.
    """
    kept = _kept()
    for name, expected in of_suite(suite):
        if name in metrics and _key(metrics[name], expected) not in kept:
            try:
                yield _held(name, metric_of(suite, name), expected, None, device)
            except Exception as error:  # whatever it is, the run's own numbers stand
                why = " ".join(str(error).split())[:400]
                yield f"{name}: not held against published values ({why})"


def _held(name: str, judged: Metric, expected: Answers, folder: Path | None, device: str) -> str:
    """What came out of one, which is kept."""
    line = verdict(name, expected, scores(judged, expected, folder, device))
    _keep(_key(judged.identity, expected), line)
    return line


def verdict(name: str, expected: Answers, values: Sequence[float]) -> str:
    """ "image_reward: as published (...)": our values, in the order of the published ones."""
    ours, theirs = np.asarray(values), np.array([one.value for one in expected.answers])
    if expected.relative:
        ours, theirs = ours - ours[0], theirs - theirs[0]
    apart = float(np.abs(ours - theirs).max())
    about = f"{len(theirs)} values of {expected.source}, apart by at most {apart:.3g}"
    if apart <= expected.tolerance:
        return f"{name}: as published ({about})"
    printed = ", ".join(f"{a:.3f} ({b:.3f})" for a, b in zip(ours, theirs, strict=True))
    return f"{name}: deviates ({about}, more than {expected.tolerance:g}): {printed}"


def scores(judged: Metric, expected: Answers, folder: Path | None, device: str) -> list[float]:
    """Our values of the published pictures. folder: holds them; None: they are fetched.

    Raises UsageError where a picture cannot be had or read, or is not the one that was meant.
    """
    look, files, found = extractor(judged.extractor, device), dict[str, bytes](), list[float]()
    for answer in expected.answers:
        if answer.picture not in files:
            files[answer.picture] = _file(expected, answer, folder)
        image = np.asarray(_picture(answer, files[answer.picture]))[None]
        features = look(image, [answer.prompt])
        found.append(judged.evaluate(features, [answer.prompt], [0]).value)
    return found


def _file(expected: Answers, answer: Answer, folder: Path | None) -> bytes:
    if folder is None:
        return hub_client.read_address(f"{expected.pictures}/{answer.picture}")
    try:
        return (folder / answer.picture).read_bytes()
    except OSError:
        where = folder / answer.picture
        raise UsageError(f"{where}: is missing; without folder= it is fetched") from None


def _picture(answer: Answer, held: bytes) -> Any:
    sha256 = hashlib.sha256(held).hexdigest()
    if answer.sha256 not in ("", sha256):
        raise UsageError(f"{answer.picture}: is another file than was published (sha256 {sha256})")
    try:
        return picture_reader.decode(held).image
    except UsageError as error:
        raise UsageError(f"{answer.picture}: {error}") from None


def _key(identity: str, expected: Answers) -> str:
    return f"{identity} by {expected.source}"


def _kept() -> dict[str, str]:
    try:
        found = json.loads((places.folder() / "known_answers.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(key: str, line: str) -> None:
    path = places.folder() / "known_answers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        beside.write_text(json.dumps({**_kept(), key: line}, indent=1) + "\n", encoding="utf-8")


def _check(arguments: Sequence[str]) -> None:
    from bench.contestants.pipelines import device_of

    names = [word for word in arguments if "=" not in word] or list(known())
    folder = next((Path(w[7:]) for w in arguments if w.startswith("folder=")), None)
    for name in names:
        if name not in known():
            raise UsageError(f"{name}: no published values are known; {nearest(name, known())}")
    for name in names:
        for expected in known()[name]:
            judged = metric(name, expected.settings, published=True)
            print(_held(name, judged, expected, folder, str(device_of("auto"))))


def main(arguments: Sequence[str]) -> int:
    """Say of each metric what came out; 2 and one line for a mistake."""
    return exit_code(lambda: _check(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
