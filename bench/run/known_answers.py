"""Holds metrics of published networks against the values that their publishers print.

    python -m bench.run.known_answers [METRIC ...] [folder=DIR]

fetches a few public pictures (or takes them from DIR), scores them with the weights that a run
uses, and says *as published* or *deviates*. What it found is kept in the data folder, by the
metric's identity, and stands in the ledger of every run with that metric; a run that nothing is
known of says how to find out. Values and their sources: bench/metrics/known_answers.yaml.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, exit_code, nearest
from bench.metrics import Metric, extractor, metric
from bench.results import places
from hypersd import hub_client, picture_reader
from hypersd.plain_yaml import load
from hypersd.validation import Text, read
from hypersd.whole_files import written_whole

DATA = Path(__file__).parents[1] / "metrics/known_answers.yaml"
COMMAND = "python -m bench.run.known_answers"


@dataclass(frozen=True)
class Answer:
    """A picture's published value for a prompt."""

    picture: Text
    value: float
    prompt: Text


@dataclass(frozen=True)
class Answers:
    """A metric's published values. pictures: the address of their folder.  tolerance: the largest
    difference that is none.  relative: only differences from the first value are published."""

    source: Text
    pictures: Text
    tolerance: float
    answers: tuple[Answer, ...]
    relative: bool = False


@cache
def known() -> dict[str, Answers]:
    """By metric, those that somebody published."""
    return read(dict[str, Answers], load(DATA, DATA.name), DATA.name)


def said(metrics: Mapping[str, str]) -> list[str]:
    """For the ledger: what was found of each metric of a run that has published values.

    metrics: identities by name.
    """
    kept = _kept()
    return [
        kept.get(metrics[name], f"{name}: not held against published values yet; {COMMAND} {name}")
        for name in known()
        if name in metrics
    ]


def verdict(name: str, values: Sequence[float]) -> str:
    """ "image_reward: as published (...)": our values, in the order of the published ones."""
    expected = known()[name]
    ours, theirs = np.asarray(values), np.array([one.value for one in expected.answers])
    if expected.relative:
        ours, theirs = ours - ours[0], theirs - theirs[0]
    apart = float(np.abs(ours - theirs).max())
    about = f"{len(theirs)} values of {expected.source}, apart by at most {apart:.3g}"
    if apart <= expected.tolerance:
        return f"{name}: as published ({about})"
    printed = ", ".join(f"{a:.3f} ({b:.3f})" for a, b in zip(ours, theirs, strict=True))
    return f"{name}: deviates ({about}, more than {expected.tolerance:g}): {printed}"


def scores(name: str, judged: Metric, folder: Path | None, device: str) -> list[float]:
    """Our values of the published pictures. folder: holds them; None: they are fetched.

    Raises UsageError where a picture cannot be had or read.
    """
    expected, look = known()[name], extractor(judged.extractor, device)
    found = []
    for answer in expected.answers:
        image = np.asarray(_picture(expected, answer, folder))[None]
        features = look(image, [answer.prompt])
        found.append(judged.evaluate(features, [answer.prompt], [0]).value)
    return found


def _picture(expected: Answers, answer: Answer, folder: Path | None) -> Any:
    where = f"{expected.pictures}/{answer.picture}" if folder is None else folder / answer.picture
    if folder is None:
        held = hub_client.read_address(str(where))
    else:
        try:
            held = Path(where).read_bytes()
        except OSError:
            raise UsageError(f"{where}: is missing; without folder= it is fetched") from None
    try:
        return picture_reader.decode(held).image
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _kept() -> dict[str, str]:
    try:
        found = json.loads((places.folder() / "known_answers.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(identity: str, line: str) -> None:
    path = places.folder() / "known_answers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        beside.write_text(
            json.dumps({**_kept(), identity: line}, indent=1) + "\n", encoding="utf-8"
        )


def _check(arguments: Sequence[str]) -> None:
    from bench.contestants.pipelines import device_of

    names = [word for word in arguments if "=" not in word] or list(known())
    folder = next((Path(w[7:]) for w in arguments if w.startswith("folder=")), None)
    for name in names:
        if name not in known():
            raise UsageError(f"{name}: nobody's values are known; {nearest(name, known())}")
    for name in names:
        judged = metric(name, published=True)
        line = verdict(name, scores(name, judged, folder, str(device_of("auto"))))
        _keep(judged.identity, line)
        print(line)


def main(arguments: Sequence[str]) -> int:
    """Say of each metric what came out; 2 and one line for a mistake."""
    return exit_code(lambda: _check(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
