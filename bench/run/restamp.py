"""Shipped rows called by today's identities, where code has moved these and no picture.

    python -m bench.run.restamp

A row of `reports/precomputed` or of a baseline whose contestant is called otherwise now is drawn
anew, its first pictures, and seen through the networks that its features are of. Where these are
equal but for rounding the file gets the new name; a row whose pictures differ is kept unchanged and
named: it has to be made again (CONTRIBUTING.md). Rows of `reports/trainings` stand for weights that
are not here, whose identities nothing is compared with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bench import metrics
from bench.contestants import identity, source
from bench.contestants.pipelines import Networks
from bench.errors import exit_code
from bench.results import places, summary
from bench.results.entries import Arrays, Entry, read_entry, write_entry
from bench.results.keys import Key, ordered
from bench.results.run_folder import RunFolder
from bench.run import shipped
from bench.suite import compose, prompts, suite
from bench.suite.contestant import Row
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite
from hypersd.hashes import Hashes
from hypersd.package_data import need_checkout
from hypersd.whole_files import written_whole

EXPORTED = "shapes_1step"  # the suite that rows are exported of
BASELINES = shipped.FOLDER.parent / "baselines"
DRAWN = 24  # pictures
ROUNDING = 1e-3  # of a feature, relatively and absolutely
HASHES = Hashes()


@dataclass(frozen=True)
class Kept:
    """A shipped row: features by extractor, a row for each of `keys`, and what it is called."""

    row: Row
    prompts: PromptSet
    keys: list[Key]
    size: int
    features: Arrays
    identity: str

    def today(self) -> str | None:
        """Its present identity, or None if its pictures differ."""
        now = identity.contestant(self.row, self.prompts, HASHES)
        return now if now == self.identity or self._is_drawn_alike() else None

    def _is_drawn_alike(self) -> bool:
        keys = self.keys[:DRAWN]
        networks = Networks(torch.device("cpu"))
        draw = source.load(self.row, self.prompts, self.size, None, networks)
        images, texts = draw(keys).images, [key.prompt for key in keys]
        return all(
            np.allclose(
                metrics.extractor(name)(images, texts), values[: len(keys)],
                rtol=ROUNDING, atol=ROUNDING, equal_nan=True,
            )
            for name, values in self.features.items()
        )  # fmt: skip


def rows(root: Path) -> Iterator[str]:
    """Stamp the rows below `root` as `reports/precomputed`; what was done, a line each."""
    for row in filter(shipped.is_shipped, _suite(EXPORTED).rows):
        path = shipped.path(root, _prompts(EXPORTED), row)
        if not path.is_file():
            continue
        entry = read_entry(path)
        record = entry.record
        chosen = _prompts(EXPORTED, record["n"])
        keys = ordered(chosen.texts, record["seeds"])
        kept = Kept(row, chosen, keys, record["size"], entry.arrays, record["identity"])
        now = kept.today()
        if now not in (None, kept.identity):
            write_entry(path, Entry(entry.arrays, {**record, "identity": now}))
        yield _said(path, kept, now)


def baseline(folder: Path) -> Iterator[str]:
    """Stamp the rows of a baseline; what was done, a line each."""
    run = RunFolder(folder, "baseline").checked()
    found, about, told = _suite(run.summary.suite), dict(run.about), run.summary
    chosen = _prompts(run.summary.suite, found.n)
    for row in found.rows:
        features = run.features(row.name)
        places_of = zip(features.pop("index").tolist(), features.pop("seed").tolist(), strict=True)
        keys = [Key(index, chosen.texts[index], seed) for index, seed in places_of]
        kept = Kept(row, chosen, keys, found.size, features, about["contestants"][row.name])
        now = kept.today()
        if now not in (None, kept.identity):
            about["contestants"][row.name] = now
            about["parts"][row.name] = identity.parts(row, chosen, HASHES)
            others = [replace(c, identity=now) if c.name == row.name else c
                      for c in told.contestants]  # fmt: skip
            told = replace(told, contestants=others)
        yield _said(folder, kept, now)
    if told is not run.summary:
        summary.write(told, folder / "result.json")
        with written_whole(folder / "run.json") as beside:
            beside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@cache
def _suite(name: str) -> Suite:
    return suite.read(name, compose.compose(name, []))


def _prompts(name: str, n: int | None = 1) -> PromptSet:
    """The first n prompts of a suite's set."""
    return prompts.load(_suite(name).prompt_set, n, places.prompts())


def _said(path: Path, kept: Kept, now: str | None) -> str:
    what = "as it was" if now == kept.identity else f"called {now} now, its pictures are the same"
    return f"{path}, {kept.row.name}: {what if now else 'its pictures are others; make it again'}"


def main() -> int:
    """All rows and baselines that are shipped. Raises UsageError outside of a checkout."""
    need_checkout("bench")
    for line in rows(shipped.FOLDER):
        print(line)
    for folder in sorted(path.parent for path in BASELINES.glob("*/result.json")):
        print(*baseline(folder), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
