"""Features that ship with the project, as other benchmarks ship statistics of COCO.

One file per prompt set and row, `reports/precomputed/<prompt set>/<row>.safetensors`, with one
array per feature extractor for the full list of keys. A row is taken from there only where the
contestant's identity, the prompts, the seeds, the size and every extractor's identity are equal;
`precomputed=false` makes it again, and a maintainer makes the rows and writes the files anew with
`python bench.py suite=shapes_1step export=reports/precomputed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, os_words
from bench.results import places
from bench.results.entries import Arrays, Entry, read_entry, write_entry
from bench.results.keys import Key
from bench.suite import prompts as prompt_sets
from bench.suite.contestant import ANCHORS, Row
from bench.suite.prompts import PromptSet
from hypersd.package_data import packaged

FOLDER = packaged("bench", "reports") / "precomputed"


def path(root: Path, prompts: PromptSet, row: Row) -> Path:
    """The path of a row's features below `root`."""
    return root / prompts.name.replace("/", "_") / f"{row.name}.safetensors"


def find(
    row: Row,
    identity: str,
    prompts: PromptSet,
    keys: Sequence[Key],
    size: int,
    extractors: Mapping[str, str],
) -> Arrays | None:
    """Features by extractor, a row for each of `keys`; None where no shipped file fits.

    extractors: identities by name.  A damaged file counts as none.
    """
    if prompts.split is None:
        return None
    try:
        entry = read_entry(path(FOLDER, prompts, row))
    except (FileNotFoundError, ValueError):
        return None
    record = entry.record
    same = record["identity"] == identity and record["size"] == size
    same = same and all(record["extractors"].get(name) == e for name, e in extractors.items())
    if not same or not same_prompts(record, prompts, keys):
        return None
    place = {seed: i * record["n"] for i, seed in enumerate(record["seeds"])}
    rows = [place[key.seed] + key.index for key in keys]
    return {name: entry.arrays[name][rows] for name in extractors}


def same_prompts(record: dict[str, Any], prompts: PromptSet, keys: Sequence[Key]) -> bool:
    """Whether the file's prompts begin with those of the run, for all its seeds."""
    n = record["n"]
    if n < len(prompts.texts) or not {key.seed for key in keys} <= set(record["seeds"]):
        return False
    is_cut = n > len(prompts.texts)
    whole = prompt_sets.load(prompts.name, n, places.prompts()) if is_cut else prompts
    return bool(record["prompts"] == whole.revision)


def is_shipped(row: Row) -> bool:
    """Whether `export=` writes a row: anchors, and bases without a student's weights."""
    return row.settings.source in (*ANCHORS, "base")


def export(
    root: Path,
    row: Row,
    identity: str,
    prompts: PromptSet,
    seeds: Sequence[int],
    size: int,
    extractors: Mapping[str, str],
    features: Arrays,
) -> Path:
    """Write a row's features below `root`. Raises UsageError where the folder cannot be written.

    features: by extractor, in the order of `keys.ordered(prompts.texts, seeds)`.
    """
    record = {
        "identity": identity,
        "prompts": prompts.revision,
        "n": len(prompts.texts),
        "seeds": list(seeds),
        "size": size,
        "extractors": dict(extractors),
    }
    target = path(root, prompts, row)
    try:
        write_entry(target, Entry(features, record))
    except OSError as error:
        raise UsageError(f"export={root}: {os_words(error)}") from None
    return target
