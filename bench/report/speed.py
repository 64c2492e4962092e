"""Seconds per image in words: how they were measured, and which could not be measured."""

from __future__ import annotations

from bench.report.words import listed
from bench.results.summary import Contestant, Summary

NOISY = "noisy"  # in place of a number
ALIKE = 1.10  # a ratio of seconds below which one contestant does not count as the faster one


def measured(contestant: Contestant) -> bool:
    """Whether it has reliable seconds."""
    speed = contestant.seconds_per_image
    return speed is not None and speed.noise != "unequal"


def in_table(contestant: Contestant) -> str:
    """Milliseconds per image: "8.4", "~8.4" where its rounds disagree, "noisy" where seconds could
    not be measured, "" where there are none."""
    speed = contestant.seconds_per_image
    if speed is None:
        return ""
    about = "~" if speed.noise == "rounds" else ""
    return f"{about}{1000 * speed.median:.1f}" if measured(contestant) else NOISY


def notes(summary: Summary) -> list[str]:
    """Sentences on the column of milliseconds; none if no row has any."""
    drawn = [c for c in summary.contestants if c.seconds_per_image is not None]
    turns = [c for c in drawn if c.seconds_per_image and c.seconds_per_image.rounds]
    found = [*_turns(summary, turns), *_noise(summary, turns)]
    others = [c.name for c in drawn if c not in turns]
    if others:
        whose = f" of {listed(others)}" if turns else ""
        found.append(f"Milliseconds{whose} are those of drawing, one contestant after another: a "
                     "busy machine makes equal networks unlike")  # fmt: skip
    return [f"{sentence}." for sentence in found]


def _turns(summary: Summary, turns: list[Contestant]) -> list[str]:
    timing = summary.timing
    if not turns:
        return []
    if timing is None:
        return ["Milliseconds are of several runs, whose contestants were not timed together"]
    rounds = sorted({c.seconds_per_image.rounds for c in turns if c.seconds_per_image})
    counts = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    images = f"{timing.batch} image{'s' * (timing.batch != 1)}"
    load = f"other processes kept {timing.busy:.1f} of {timing.cores} cores busy"
    return [f"Milliseconds are medians over {counts} rounds in which contestants drew {images} in "
            f"turns ({timing.time}); {load}"]  # fmt: skip


def _noise(summary: Summary, turns: list[Contestant]) -> list[str]:
    kinds = {c.seconds_per_image.noise for c in turns if c.seconds_per_image}
    found = []
    if "rounds" in kinds:
        found.append("~: the middle half of its rounds spreads by more than 10 %")
    if "unequal" in kinds:
        apart = summary.timing.apart if summary.timing else None
        by = f" {100 * apart:.0f} % apart" if apart else " apart"
        found.append(f"{NOISY}: seconds could not be measured, equal networks at equal steps came "
                     f"out{by}; time again on a quiet machine with rounds=7")  # fmt: skip
    return found
