"""How metrics are called, how numbers are printed, and how contestants are grouped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.results.summary import Contestant, Summary


@dataclass(frozen=True)
class MetricWords:
    """A metric's short title and what it asks, for people."""

    title: str
    asks: str


METRIC_WORDS = {
    "fid": MetricWords("FID", "How far is the set of images from real images?"),
    "fid_teacher": MetricWords("FID to teacher", "How far is it from the teacher's own images?"),
    "lpips_teacher": MetricWords("LPIPS to teacher", "How unlike the teacher's picture is it?"),
    "perceptual_teacher": MetricWords(
        "Distance to teacher", "How unlike the teacher's picture is it?"
    ),
    "clip": MetricWords("CLIP", "Does the image fit its prompt? 100 times a cosine."),
    "aesthetic": MetricWords("Aesthetic", "How would people rate the image alone, from 1 to 10?"),
    "hps": MetricWords("HPS", "Which image of a prompt would people choose? 100 times a cosine."),
    "image_reward": MetricWords("ImageReward", "Which image would its raters choose?"),
    "pick": MetricWords("PickScore", "Which image would its raters choose?"),
    "diversity": MetricWords("Diversity", "How much do a prompt's images differ by seed?"),
    "faithful": MetricWords("Faithful", "In what share of images is everything asked for right?"),
}


def metric_words(name: str) -> MetricWords:
    """The words for a metric; its plain name where nothing better is known."""
    return METRIC_WORDS.get(name, MetricWords(name, ""))


def decimals(summary: Summary, metric: str) -> int:
    """Decimals that show two figures of the typical interval's half width, at most four."""
    found = [c.metrics[metric] for c in summary.contestants if metric in c.metrics]
    halves = [(m.high - m.low) / 2 for m in found if m.high > m.low]
    if not halves:
        return 2
    return min(4, max(0, 1 - math.floor(math.log10(float(np.median(halves))))))


def number(value: float, places: int) -> str:
    """A number with thousands separators and a true minus sign."""
    text = f"{value:,.{places}f}"
    return text.replace("-", "\u2212") if float(text.replace(",", "")) else text.lstrip("-")


def p_words(p: float) -> str:
    """ "0.0123", or "< 0.0001" below that."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def listed(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(words)
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)


def steps_words(steps: int | None) -> str:
    """ "1 step", "4 steps", or that nothing is known of steps."""
    return "Images made elsewhere" if steps is None else f"{steps} step{'s' * (steps != 1)}"


def groups(summary: Summary) -> list[tuple[str, list[Contestant]]]:
    """Contestants under a heading: by step count, then the teacher, then the anchors."""
    rivals = [c for c in summary.contestants if not c.is_anchor and c.method != "teacher"]
    order = sorted({c.steps for c in rivals}, key=lambda s: (s is None, s))
    found = [(steps_words(s), [c for c in rivals if c.steps == s]) for s in order]
    teachers = [c for c in summary.contestants if c.method == "teacher"]
    anchors = [c for c in summary.contestants if c.is_anchor]
    return [*found, *([("Teacher", teachers)] if teachers else []),
            *([("Anchors", anchors)] if anchors else [])]  # fmt: skip
