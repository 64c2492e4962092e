"""Makes references in a run: features of picture files, or of the teacher's pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import Timeout
from numpy.typing import NDArray
from rich.console import Console

from bench.contestants.pipelines import device_of
from bench.errors import UsageError
from bench.metrics import Network, extractor
from bench.metrics.references import ReferenceFeatures
from bench.results import keys, places
from bench.run import photographs, processes, rows
from bench.run.plan import Plan
from bench.run.processes import Process
from bench.run.progress import Advance, Reporter
from bench.run.rows_left import Planned, Slice
from bench.run.wanted_references import Drawn, ToMake, is_sound
from hypersd.hashes import digest
from hypersd.picture_files import VERSION
from hypersd.whole_files import alone

AT_ONCE = 32  # pictures that are decoded ahead of the network


def make(plan: Plan, out: Console) -> None:
    """Make the missing references of a plan; one process reads photographs, all processes draw.

    Raises UsageError where that fails.
    """
    reporter = Reporter(out)
    for one in plan.references:
        if one.path is None:
            raise UsageError(f"{one.name}: {one.network.label} is not here after all")
        if one.drawn is not None:
            _drawn(plan, one, one.drawn, reporter).save(one.path)
            continue
        with alone(one.path):
            if not is_sound(one.path):
                _photographed(plan, one, reporter).save(one.path)


def of_files(
    name: str, paths: Sequence[Path], network: Network, device: str, advance: Advance
) -> ReferenceFeatures:
    """Features of pictures, one at a time since their sizes differ, and a hash of their files.

    Raises UsageError for a picture that cannot be read.
    """
    _ = network.path  # fetched first, so that the identity is of the weights that are used
    seen_by = extractor(network.name, device)
    features, hashes = [], []
    for picture, sha256 in _read(paths):
        features.append(seen_by(picture[None], [""]))
        hashes.append(sha256)
        advance(1)
    made_of = digest([VERSION, sorted(hashes)])[:12]
    return ReferenceFeatures(name, network.identity, np.concatenate(features), made_of)


def _read(paths: Sequence[Path]) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Pictures [H, W, 3] and the sha256 of their files."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), AT_ONCE):
            yield from pool.map(_picture, paths[start : start + AT_ONCE])


def _picture(path: Path) -> tuple[NDArray[np.uint8], str]:
    from hypersd.picture_reader import decode

    try:
        stored = path.read_bytes()
        return np.array(decode(stored).image), hashlib.sha256(stored).hexdigest()
    except (UsageError, OSError) as error:
        raise UsageError(f"{path}: {error}") from None


def _photographed(plan: Plan, one: ToMake, reporter: Reporter) -> ReferenceFeatures:
    paths = [places.pictures() / each.name for each in photographs.of(one.name).wanted]
    device = str(device_of(plan.options.device, processes.here().local))
    with reporter.bar(f"{one.name}, {one.network.label}", len(paths)) as advance:
        return of_files(one.name, paths, one.network, device, advance)


def _drawn(plan: Plan, one: ToMake, drawn: Drawn, reporter: Reporter) -> ReferenceFeatures:
    """Features of the teacher's pictures, which are not kept. Every process draws slices that no
    other process holds, then waits for the rest."""
    name, size = one.network.name, drawn.row.size(plan.suite.size)
    pieces = keys.slices(keys.ordered(plan.prompts.texts, [drawn.seed]))
    slices = [Slice(drawn.identity, piece, size, is_cached=False) for piece in pieces]
    planned = Planned(drawn.row, drawn.identity, slices)
    teacher = replace(plan, extractors={name: one.network.identity}, rows=[planned])
    worker = rows.worker(teacher)
    drawer = rows.RowSource(teacher, planned, worker)
    with reporter.bar(one.name, one.images) as advance:
        for part in _from_own_place(slices, processes.here()):
            with suppress(Timeout):
                worker.features(part, drawer, advance, show=False, timeout=0)
        done = [worker.features(part, drawer, advance, show=False) for part in slices]
    failed = next((why for each in done for why in each.failed.values()), None)
    broken = sum(len(each.record.get("broken", ())) for each in done)
    if failed or broken:
        why = failed or f"{broken} pictures of {drawn.row.name} are not finite; try precision=bf16"
        raise UsageError(f"{one.name}: {why}")
    features = np.concatenate([each.features[name] for each in done])
    return ReferenceFeatures(one.name, one.network.identity, features, drawn.made_of)


def _from_own_place(slices: Sequence[Slice], process: Process) -> Sequence[Slice]:
    """All of them, from this process's part on; none where it is alone."""
    start = process.rank * len(slices) // process.count
    return [*slices[start:], *slices[:start]] if process.count > 1 else []
