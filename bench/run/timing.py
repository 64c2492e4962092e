"""Measures comparable seconds per image: contestants draw again in turns.

All rows draw the same few images, one row after the other, round by round, with warm networks: a
slow minute of the machine falls on all of them. A row's seconds are the median over its rounds,
with an interval from their order (distribution-free: of 7 the smallest and the largest bound the
median with 98 %; David and Nagaraja 2003, section 7.1). Rows whose networks and steps are equal
must come out within 10 % of each other; where they do not, rounds are added while time is left, and
after that their seconds count as not measured.

What was timed is kept in the cache under everything that it depends on, all rows together: a
further row is timed again with all others, since seconds of another hour are not fair to it.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from bench.errors import UsageError, brief
from bench.results.keys import Key
from bench.results.summary import Contestant, Noise, SecondsPerImage, Summary, Timing
from bench.run import environment
from bench.run.plan import Plan
from bench.run.progress import Advance, Reporter
from bench.run.rows import RowSource
from bench.run.timing_plan import LEAST, Turns, turns, warm_up
from bench.run.worker import Worker
from bench.statistics.intervals import median_interval
from hypersd.hashes import digest
from hypersd.whole_files import written_whole

STAGES = ("text", "unet", "vae", "rest")
ALIKE = 0.10  # largest difference of equal networks at equal steps, and of a row's middle rounds
AGAIN = 3  # at most so many times the planned rounds, if they disagree
Round = dict[str, float]  # seconds of one image, by stage


@dataclass
class Times:
    """rounds: by row.  busy: cores that others kept busy.  not_timed: why, by row."""

    batch: int
    rounds: dict[str, list[Round]]
    seconds: float = 0.0
    busy: float = 0.0
    time: str = ""
    not_timed: dict[str, str] = field(default_factory=dict)


def with_times(found: Summary, plan: Plan, worker: Worker, reporter: Reporter) -> Summary:
    """A result whose seconds per image were measured in turns, as far as the plan has it; those
    that were not keep the seconds of their drawing."""
    wanted, names = turns(plan), {c.name for c in found.contestants}
    wanted = replace(wanted, rounds={n: k for n, k in wanted.rounds.items() if n in names})
    if not wanted.rounds:
        return found
    times = _kept_or_made(plan, worker, wanted, reporter)
    groups = _equal(plan, times.rounds)
    apart = {name: _apart([times.rounds[n] for n in group]) for group in groups for name in group}
    about = Timing(
        batch=times.batch,
        seconds=round(times.seconds, 2),
        cores=os.cpu_count() or 1,
        busy=round(times.busy, 2),
        apart=max(apart.values(), default=None),
        time=times.time,
        not_timed=times.not_timed,
    )
    return replace(
        found,
        contestants=[_timed(c, times, apart.get(c.name, 0.0)) for c in found.contestants],
        timing=about,
        seconds={**found.seconds, **{k: v for k, v in worker.seconds.items() if k == "time"}},
    )


def _timed(contestant: Contestant, times: Times, apart: float) -> Contestant:
    rounds = times.rounds.get(contestant.name, [])
    if len(rounds) < LEAST:
        return contestant
    return replace(contestant, seconds_per_image=summarised(rounds, times.batch, apart))


def summarised(rounds: Sequence[Round], batch: int, apart: float = 0.0) -> SecondsPerImage:
    """Median and interval of a row's rounds.

    apart: from equal networks at equal steps, the largest ratio of seconds less 1.
    """
    total, found = [sum(one.values()) for one in rounds], of_batches(rounds, batch)
    first, third = np.percentile(total, [25, 75])
    noise: Noise = "rounds" if third - first > ALIKE * found.median else ""
    low, high = median_interval(total) or (None, None)
    return replace(found, rounds=len(rounds), low=low, high=high,
                   noise="unequal" if apart > ALIKE else noise)  # fmt: skip


def of_batches(batches: Sequence[Round], size: int) -> SecondsPerImage:
    """Medians of seconds per image over batches of one size."""
    total = [sum(one.values()) for one in batches]
    text, unet, vae, rest = (float(np.median([one.get(stage, 0.0) for one in batches]))
                             for stage in STAGES)  # fmt: skip
    p90 = float(np.percentile(total, 90))
    return SecondsPerImage(size, float(np.median(total)), p90, text, unet, vae, rest)


def _apart(rows: Sequence[Sequence[Round]]) -> float:
    """The ratio less 1 between seconds of equal networks; schedulers, which may differ, are left
    out."""
    medians = [np.median([sum(one.values()) - one.get("rest", 0.0) for one in r]) for r in rows]
    return float(max(medians) / max(min(medians), 1e-12) - 1)


def _equal(plan: Plan, names: Container[str]) -> list[list[str]]:
    """Groups of two or more rows whose networks, and what they are called with, differ in their
    weights only."""
    groups: dict[object, list[str]] = defaultdict(list)
    for planned in plan.rows:
        one, nfe = planned.row.settings, planned.nfe
        own = one.weights if one.source in ("unet", "pipeline") else ""
        beside = (one.storage, one.weights, one.stack) if one.storage else ()
        call = one.own.is_asked, str(sorted(one.own.arguments.items()))  # such as tokens of a text
        network = (one.base, own, one.precision, one.vae, one.vae_precision, one.compiled, one.size,
                   *call, *beside)  # fmt: skip
        if planned.name in names and nfe is not None:
            groups[network, planned.row.steps, nfe.count].append(planned.name)
    return [group for group in groups.values() if len(group) > 1]


def _kept_or_made(plan: Plan, worker: Worker, wanted: Turns, reporter: Reporter) -> Times:
    path = _path(plan, worker, wanted)
    found = None if wanted.forced else _read(path, _names(plan))
    if found is not None and found.rounds.keys() == wanted.rounds.keys():
        return found
    found = _made(plan, worker, wanted, reporter)
    worker.seconds["time"] = round(found.seconds, 2)
    if not found.not_timed and _agree(found, _equal(plan, found.rounds)):
        _keep(path, found, _names(plan))
    return found


def _made(plan: Plan, worker: Worker, wanted: Turns, reporter: Reporter) -> Times:
    """All planned rounds, and more if they disagree and time is left."""
    sources = {p.name: RowSource(plan, p, worker, search=False)
               for p in plan.rows if p.name in wanted.rounds}  # fmt: skip
    batch = min(wanted.batch, len(plan.keys), *(worker.batches.of(s.stage)
                                                for s in sources.values()))  # fmt: skip
    keys, times = plan.keys[:batch], Times(batch, {name: [] for name in sources})
    began, others = time.perf_counter(), _Others()
    images = batch * sum(count + warm_up(count) for count in wanted.rounds.values())
    with reporter.live(), reporter.bar("timing in turns", images) as advance:
        _take_turns(sources, keys, wanted, times, _equal(plan, sources), advance)
    times.seconds, times.busy = time.perf_counter() - began, others.busy()
    times.time = datetime.now(UTC).isoformat(timespec="seconds")
    for name in [name for name, rounds in times.rounds.items() if len(rounds) < LEAST]:
        why = "it took longer than planned, and fewer than 3 rounds were done"
        times.not_timed.setdefault(name, why)
        del times.rounds[name]
    return times


def _take_turns(
    sources: Mapping[str, RowSource], keys: Sequence[Key], wanted: Turns, times: Times,
    groups: Sequence[Sequence[str]], advance: Advance,
) -> None:  # fmt: skip
    """The planned rounds, then more while they disagree, within three times the expected seconds; a
    number of rounds that was asked for has no limit of time."""
    began, most = time.perf_counter(), 3 * wanted.seconds + 10
    planned = {name: count + warm_up(count) for name, count in wanted.rounds.items()}
    for number in range(AGAIN * max(wanted.rounds.values())):
        agreed = number >= max(planned.values()) and _agree(times, groups)
        left = [name for name in sources if name not in times.not_timed
                and (number < planned[name] or not agreed)]  # fmt: skip
        spent, asked = time.perf_counter() - began, number < max(planned.values())
        if not left or (spent + spent / max(number, 1) > most and not (wanted.forced and asked)):
            return
        for name in left:
            seconds = _one(sources[name], keys, times, name)
            if seconds and number >= warm_up(wanted.rounds[name]):
                times.rounds[name].append(seconds)
            if number < planned[name]:
                advance(len(keys))


def _one(source: RowSource, keys: Sequence[Key], times: Times, name: str) -> Round:
    """Seconds of an image by stage; of one that cannot be drawn any more nothing, and why is
    noted: all pictures of the run are made, so that no failure here is worth losing it."""
    try:
        found = source(keys).seconds
    except (UsageError, OSError, RuntimeError) as error:
        times.not_timed[name] = brief(error)
        return {}
    return {stage: seconds / len(keys) for stage, seconds in found.items()}


def _agree(times: Times, groups: Sequence[Sequence[str]]) -> bool:
    """Whether equal networks agree, and each row's rounds."""
    rounds = {name: found for name, found in times.rounds.items() if found}
    alike = [[rounds[name] for name in group if name in rounds] for group in groups]
    return all(_apart(rows) <= ALIKE for rows in alike if rows) and not any(
        summarised(found, times.batch).noise for found in rounds.values()
    )


class _Others:
    """Measures how many cores other processes keep busy, from now on."""

    def __init__(self) -> None:
        self._began, self._first = time.perf_counter(), self._spent()

    def busy(self) -> float:
        """The mean since the beginning; 0 if the system does not report it."""
        seconds = time.perf_counter() - self._began
        return max(0.0, (self._spent() - self._first) / seconds) if seconds > 0 else 0.0

    @staticmethod
    def _spent() -> float:
        """Seconds of all cores that were not idle, less those of this process."""
        everyone, own = psutil.cpu_times(), time.process_time()
        idle = everyone.idle + getattr(everyone, "iowait", 0.0)
        return float(sum(everyone[:8]) - idle - own)


def _names(plan: Plan) -> dict[str, str]:
    """Cache names of rows by their names: identity, and a number among rows that draw the same
    pictures."""
    seen: Counter[str] = Counter()
    found = {}
    for planned in plan.rows:
        found[planned.name] = f"{planned.identity}:{seen[planned.identity]}"
        seen[planned.identity] += 1
    return found


def _path(plan: Plan, worker: Worker, wanted: Turns) -> Path:
    """The path of times of these rows, measured on this machine in this way."""
    about = environment.describe(worker.device, wanted.batch)
    same = {key: about[key] for key in ("hardware", "threads", "device", "batch", "versions")}
    rows = sorted((p.identity, p.row.size(plan.suite.size), wanted.rounds[p.name])
                  for p in plan.rows if p.name in wanted.rounds)  # fmt: skip
    return plan.options.cache / "timings" / f"{digest([same, rows])}.json"


def _read(path: Path, identities: Mapping[str, str]) -> Times | None:
    """Kept times; None if there are none, or the file is damaged."""
    try:
        held = json.loads(path.read_bytes())
        rounds = {
            name: [{stage: float(value) for stage, value in one.items()} for one in found]
            for name, identity in identities.items()
            if (found := held["rows"].get(identity))
        }
        return Times(int(held["batch"]), rounds, float(held["seconds"]), float(held["busy"]),
                     str(held["time"]))  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, times: Times, identities: Mapping[str, str]) -> None:
    """Store the times; failing to write the cache is no error."""
    rows = {identities[name]: rounds for name, rounds in times.rounds.items()}
    held = {"batch": times.batch, "seconds": times.seconds, "busy": times.busy,
            "time": times.time, "rows": rows}  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            beside.write_text(json.dumps(held), encoding="utf-8")
    except OSError:
        return
