"""Sentences on a preference study, the same on the page and in the PDF.

Every sentence on simulated votes says that they are simulated.
"""

from __future__ import annotations

import time

from bench.statistics.printed import number, p_words
from bench.study.analysis import LEVEL, PairLine, PanelFigures, StrengthLine

VOTES = (
    "Every vote, with pseudonyms for raters, is in tables/{} (docs/study.md says what it holds)."
)
CHECKS = (
    "A check shows a picture next to the same one cut up under noise. Who fails at least two, and "
    "more than a fifth, is left out of all figures above."
)
SIMULATED = (
    "were drawn by a program with a known utility, to show that the figures find what is there. "
    "They say nothing of these contestants. Open circles: what the votes come to in the long run."
)
PREFERENCE = (
    "Share of votes; grey: no difference, or both bad; half of it counts for either side. The line "
    "is the 95 % interval of the left share, bold what is certain."
)
STRENGTH = "Bradley-Terry, against the mean of all; a lead of 1.1 is a preference of 75 %."


def mark(panel: PanelFigures) -> str:
    """The mark after every heading of simulated votes."""
    return " (simulated)" * panel.simulated


def about(panel: PanelFigures) -> list[str]:
    """How many votes of how many raters, when, and how many raters were left out."""
    out = sum(rater.left_out for rater in panel.raters)
    counted = len(panel.raters) - out
    kind = "simulated " * panel.simulated
    votes = f"{panel.votes:,} {kind}vote{'s' * (panel.votes != 1)}"
    words = [f"{votes} of {counted} {kind}rater{'s' * (counted != 1)}", days(panel)]
    return [*words, f"{out} left out"] if out else words


def days(panel: PanelFigures) -> str:
    """When the votes were cast: one day, or the first and the last."""
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(t)) for t in (panel.first, panel.last))
    return first if first == last else f"{first} to {last}"


def percent(value: float | None) -> str:
    """A share as a whole percentage, a dash for none."""
    return "\u2013" if value is None else f"{100 * value:.0f} %"


def between(pair: PairLine) -> str:
    """The interval of the share of a."""
    return "\u2013" if pair.low is None else f"[{percent(pair.low)}, {percent(pair.high)}]"


def preferences(panel: PanelFigures) -> list[str]:
    """A sentence for every preference that is certain."""
    return [
        f"{'Simulated: ' * panel.simulated}{_preference(p)}" for p in panel.pairs if p.preferred
    ]


def _preference(pair: PairLine) -> str:
    assert pair.share is not None and pair.low is not None and pair.high is not None
    other, shares = pair.b, (pair.share, pair.low, pair.high)
    if pair.preferred == pair.b:
        other, shares = pair.a, (1 - pair.share, 1 - pair.high, 1 - pair.low)
    share, low, high = map(percent, shares)
    return (
        f"{pair.preferred} is preferred to {other}: {share} of {pair.votes} votes [{low}, {high}]."
    )


def scope(panel: PanelFigures) -> str:
    """The scope of intervals, and the meaning of the column *still needed*."""
    counted = sum(not rater.left_out and rater.votes > 0 for rater in panel.raters)
    whom = "new raters and new prompts" if counted > 1 else "new prompts and this one rater"
    return (
        f"Intervals are for {whom}. \u201cStill needed\u201d: further votes on the pair, "
        "with as many more raters and prompts, until its present share would be certain with a "
        "chance of 80 %, at 5 % over all pairs (Holm). A true preference of 60 % takes about "
        f"{panel.example:,} votes on a pair."
    )


def mixed(panel: PanelFigures) -> list[str]:
    """The mixed model's result, if it was asked for."""
    if not with_mixed(panel):
        return []
    ahead = [
        f"{pair.a} over {pair.b}" if pair.mixed.share > 0.5 else f"{pair.b} over {pair.a}"
        for pair in panel.pairs
        if pair.mixed and pair.mixed.p < LEVEL
    ]
    return [
        "Mixed model: a logistic model of the votes, raters and prompts as crossed random effects; "
        f"certain by it: {', '.join(ahead) or 'none'}. docs/study.md says when to read it."
    ]


def agreement(panel: PanelFigures) -> str:
    """How far raters agree, and how often the left picture was chosen."""
    sides = ""
    if panel.left is not None:
        sides = f" Left was chosen in {percent(panel.left)} of the decided votes."
    found = panel.agreement
    if found is None:
        return f"No question was answered by two raters yet, so their agreement is unknown.{sides}"
    alpha = ""
    if found.alpha == found.alpha:
        alpha = f" (Krippendorff's alpha {number(found.alpha, 2)}; 0 is chance, 1 full agreement)"
    asked = f"{found.questions} question{'s' * (found.questions != 1)}"
    return (
        f"Agreement: on {asked} that several raters answered, two gave the same answer in "
        f"{percent(found.same)}{alpha}.{sides}"
    )


def votes(panel: PanelFigures) -> str:
    """The path of the table of votes."""
    return VOTES.format("votes_simulated.csv" if panel.simulated else "votes.csv")


PAIR_HEADS = ("a", "b", "votes", "for a", "no difference", "both bad", "for b", "share of a",
              "95 % interval", "adjusted p", "still needed")  # fmt: skip
MIXED_HEADS = ("a", "b", "share of a, of the votes", "by the mixed model", "95 % interval",
               "adjusted p")  # fmt: skip


def with_mixed(panel: PanelFigures) -> bool:
    """Whether any pair has figures of the mixed model."""
    return any(pair.mixed for pair in panel.pairs)


def pair_rows(panel: PanelFigures) -> list[list[str]]:
    """One row per pair, under PAIR_HEADS."""
    return [_pair(pair) for pair in panel.pairs]


def _pair(pair: PairLine) -> list[str]:
    counts = (pair.votes, pair.a_wins, pair.ties, pair.both_bad, pair.b_wins)
    needed = "none" if pair.preferred else "\u2013" if pair.needed is None else f"{pair.needed:,}"
    p = p_words(pair.p_adjusted) if pair.votes > 1 else "\u2013"
    return [pair.a, pair.b, *map(str, counts), percent(pair.share), between(pair), p, needed]


def mixed_rows(panel: PanelFigures) -> list[list[str]]:
    """One row per pair, under MIXED_HEADS; none where the mixed model was not asked for."""
    return [_mixed(pair) for pair in panel.pairs] if with_mixed(panel) else []


def _mixed(pair: PairLine) -> list[str]:
    found, shares = pair.mixed, [pair.a, pair.b, percent(pair.share)]
    if found is None:
        return [*shares, *["\u2013"] * (len(MIXED_HEADS) - len(shares))]
    interval = f"[{percent(found.low)}, {percent(found.high)}]"
    return [*shares, percent(found.share), interval, p_words(found.p)]


STRENGTH_HEADS = ("contestant", "strength", "95 % interval")


def strength_row(line: StrengthLine) -> list[str]:
    """The cells of a contestant, under STRENGTH_HEADS."""
    between = f"[{number(line.low, 2)}, {number(line.high, 2)}]"
    return [line.name, number(line.value, 2), between]


RATER_HEADS = ("rater", "votes", "checks passed", "median seconds", "")


def rater_rows(panel: PanelFigures) -> list[list[str]]:
    """One row per rater, under RATER_HEADS; the last cell says who was left out, and why."""
    return [
        [r.name, str(r.votes), f"{r.passed} of {r.checks}", number(r.seconds, 1),
         "left out: failed too many checks" * r.left_out]
        for r in panel.raters
    ]  # fmt: skip
