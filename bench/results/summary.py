"""The Summary of a run (result.json, schema_version 1): all that reports and checks read.

Fields with a default are additions that another reader may not know; the others are the contract.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.errors import UsageError, os_words
from hypersd import validation
from hypersd.file_kinds import JSON, mistaken
from hypersd.whole_files import written_whole

SCHEMA_VERSION = 1
METHODS = "methods"  # what claims are about where nothing else is said
LEAST_SEEDS = 3  # trainings of either side below which a claim about methods is not decided
ANCHORS = ("real", "vae_round_trip", "shuffled_captions")

TrainedOn = Literal["network", "labels", "no"]
Kind = Literal["mean", "share", "distance", "ratio"]
Family = Literal["primary", "exploratory"]
Noise = Literal["", "rounds", "unequal"]
Verdict = Literal[
    "holds", "the opposite is shown", "equivalent", "not shown", "undecided", "does not hold"
]


@dataclass(frozen=True)
class MetricValue:
    """One metric of one contestant; low and high bound a 95 % interval of what `covers` says.

    parts: a breakdown by name, for instance `faithful` per attribute.  prompts: how many (seeds
    of one prompt count once); 0 where not recorded.  error: standard error of `value`.  kind: a
    mean of scores, a share of right and wrong, a distance between sets of images, or a ratio to
    the teacher's.
    at_infinity: where a distance would tend to with ever more images (`fid_inf`'s estimate).
    """

    value: float
    low: float
    high: float
    n: int
    identity: str
    higher_is_better: bool
    trained_on: TrainedOn
    covers: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    prompts: int = 0
    error: float | None = None
    kind: Kind = "mean"
    at_infinity: float | None = None


@dataclass(frozen=True)
class SecondsPerImage:
    """Seconds per image at one batch size: median and 90th percentile over batches, and the median
    of each stage of the pipeline. rest: scheduler, noise, and the way to uint8 on the CPU.

    rounds: in which all contestants were timed in turns; 0 where the seconds are those of drawing,
    one contestant after another, which a busy machine makes unlike.  low, high: of the median, over
    rounds; None of fewer than 6.  noise: "rounds" where they disagree, "unequal" where equal
    networks at equal steps did not come out alike, so that seconds could not be measured.
    """

    batch: int
    median: float
    p90: float
    text: float
    unet: float
    vae: float
    rest: float = 0.0
    rounds: int = 0
    low: float | None = None
    high: float | None = None
    noise: Noise = ""


@dataclass(frozen=True)
class TriedBatch:
    """Images per second at so many images at once, None where memory did not hold them."""

    batch: int
    images_per_second: float | None


def best_batch(tried: Sequence[TriedBatch]) -> int:
    """The size that drew the most images per second."""
    return max(tried, key=lambda one: one.images_per_second or 0.0).batch


@dataclass(frozen=True)
class Training:
    """The cost of a contestant's training. unet_forwards, unet_backwards: pictures through the
    network, None where its card has no count."""

    images_seen: int
    unet_forwards: int | None
    unet_backwards: int | None
    seconds: float
    hardware: str


@dataclass(frozen=True)
class Contestant:
    """A contestant, and its metrics by name.

    steps, nfe: None for anchors and folders of images.  seconds_alone: of images drawn one by one,
    None where that was not measured.  precomputed: its features were shipped and checked by
    identity instead of being made in this run.  tried_batches: of `batch=best`, else empty.
    """

    name: str
    method: str
    steps: int | None
    nfe: int | None
    identity: str
    n: int
    seeds: list[int]
    licence: str
    seconds_per_image: SecondsPerImage | None = None
    peak_memory_bytes: int | None = None
    training: Training | None = None
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    precomputed: bool = False
    seconds_alone: SecondsPerImage | None = None
    tried_batches: list[TriedBatch] = field(default_factory=list)

    @property
    def is_anchor(self) -> bool:
        """Whether it is an anchor, which only gives the scale: real images and variants of them."""
        return self.method in ANCHORS


@dataclass(frozen=True)
class Equivalence:
    """A difference against the smallest one that matters: two one-sided tests.

    margin: in the metric's unit.  p_a_not_worse: of "a is worse by the margin or more", so a small
    p shows that a is not worse (non-inferiority); p_b_not_worse: the same of b.  p_equivalent, the
    larger of the two: shows that the difference is within the margin (TOST, Schuirmann 1987).
    adjusted: by Holm over all one-sided tests of the summary's primary comparisons, of others the
    false discovery rate.
    """

    margin: float
    p_a_not_worse: float
    p_b_not_worse: float
    p_equivalent: float
    p_a_not_worse_adjusted: float
    p_b_not_worse_adjusted: float
    p_equivalent_adjusted: float


@dataclass(frozen=True)
class Comparison:
    """a against b on the same prompts; delta = a - b, low and high its 95 % interval.

    family: "primary" where the suite asks for it, or asks for none in particular.  p: of one
    comparison; p_adjusted: by Holm over all primary ones of the summary, of exploratory ones the
    false discovery rate (Benjamini and Hochberg).
    win_rate: share of prompts on which a is better, ties half; None without per-prompt scores;
    win_low, win_high: its 95 % interval; wins, ties, losses: the prompts it is made of.
    prompts: that both have.  error: standard error of delta.  detectable: the true difference that
    a test at these prompts finds with 80 % probability (5 %, this comparison alone);
    detectable_adjusted: the same at the strictest level of its family.  equivalence: None without
    margin.  prompts_needed: prompts at which a difference as large as the margin is found with 80 %
    probability (this comparison alone); None without a margin; prompts_needed_adjusted: the same at
    the strictest level of its family.
    """

    a: str
    b: str
    metric: str
    delta: float
    low: float
    high: float
    p: float
    p_adjusted: float
    win_rate: float | None
    n: int
    win_low: float | None = None
    win_high: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    prompts: int = 0
    error: float | None = None
    detectable: float | None = None
    detectable_adjusted: float | None = None
    equivalence: Equivalence | None = None
    prompts_needed: int | None = None
    family: Family = "primary"
    prompts_needed_adjusted: int | None = None


@dataclass(frozen=True)
class Claim:
    """A statement about methods, over training seeds.

    verdict: "does not hold" is of results before the opposite was adjusted; none is made any more.
    training_seeds: of the side that has fewer.  delta = a - b, averaged over training seeds; low
    and high: its 95 % interval over new training seeds and new prompts.  p: of the claim,
    p_adjusted: by Holm over all claims that could be decided; so are p_opposite_adjusted and, of
    "better", p_equivalent_adjusted (two one-sided tests against the margin).  bootstrap_low and
    bootstrap_high: the interval of a hierarchical bootstrap over both, for comparison.
    trainings_needed: of either side, with which a claim that is "not shown" would be decided with
    80 % probability, alone and at Holm's strictest step, were the true difference the measured
    one; None for any other verdict, and where no number would do.  about: "weights" where it is
    about one contestant of either side, over prompts alone.  The rest is what the suite says of it.
    """

    text: str
    verdict: Verdict
    why: str
    training_seeds: int
    a: str = ""
    b: str = ""
    metric: str = ""
    steps: int | None = None
    relation: str = ""
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    margin: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    p_opposite_adjusted: float | None = None
    p_equivalent_adjusted: float | None = None
    trainings_needed: int | None = None
    trainings_needed_adjusted: int | None = None
    about: str = METHODS

    @property
    def is_decidable(self) -> bool:
        """Whether there are trainings enough; for a claim about weights one is."""
        return self.about == "weights" or self.training_seeds >= LEAST_SEEDS

    @property
    def words(self) -> str:
        """The verdict, with the number of trainings where that is why it is undecided."""
        if self.delta is None or self.is_decidable:
            return self.verdict
        few = "one training" if self.training_seeds == 1 else f"{self.training_seeds} trainings"
        return f"{self.verdict} ({few})"


@dataclass(frozen=True)
class StepResponse:
    """A contestant at `more` steps against itself at `steps`, half as many, on one metric, paired
    by prompt.

    contestant: the rows' name without their steps.  delta: more minus fewer steps, low and high its
    95 % interval.  margin: the smallest difference that matters, in the metric's unit.
    p_not_worse: one-sided, small shows that more steps are not worse by the margin;
    p_worse_adjusted: small shows that they are (Holm over all of a result).  prompts: that both
    have.
    """

    contestant: str
    metric: str
    steps: int
    more: int
    delta: float
    low: float
    high: float
    margin: float
    p_not_worse: float
    p_worse_adjusted: float = 1.0
    prompts: int = 0
    verdict: Literal["not worse", "worse", "not shown"] = "not shown"


@dataclass(frozen=True)
class MissingRow:
    """A row that a result lacks. why: it is left out; "" of one that is still to be drawn.

    images, evaluations, seconds: what is left to make of it, the seconds as expected.  against:
    whom it would be compared with, each pair once in a result.
    """

    name: str
    method: str
    steps: int | None
    why: str = ""
    images: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    against: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OverTrainings:
    """A row's metric over several trainings of its method: their mean, and its 95 % interval over
    new trainings and new prompts. values: of each, the row's own weights first."""

    mean: float
    low: float
    high: float
    values: list[float]


@dataclass(frozen=True)
class Timing:
    """How contestants were timed in turns. cores: of the machine; busy: how many of them others
    kept busy meanwhile.  apart: of equal networks at equal steps, the largest ratio of seconds less
    1, None where there are none.  time: when; of a run that timed nothing itself, of the one whose
    seconds it took from the cache.  not_timed: why, by row."""

    batch: int
    seconds: float
    cores: int
    busy: float
    apart: float | None
    time: str
    not_timed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivity:
    """The differences that the comparisons of one metric could have found at their number of
    prompts; of the primary ones, if it has any.

    detectable: the true difference that the typical (median) comparison finds with 80 %
    probability, alone; worst: that of the least sensitive.  margin: the smallest difference that
    matters in the typical comparison.  prompts_needed: at which that one would find a difference as
    large as the margin; None without a margin.  detectable_adjusted, prompts_needed_adjusted: the
    same as one of `tests` that are adjusted together, at their strictest level.
    """

    prompts: int
    detectable: float
    worst: float
    margin: float | None = None
    prompts_needed: int | None = None
    detectable_adjusted: float | None = None
    prompts_needed_adjusted: int | None = None
    tests: int = 0


@dataclass(frozen=True)
class Summary:
    """One run. limit: prompts it was cut to, or None for a whole run; title: for people.

    sensitivity: by metric; empty where nothing was compared.  conditions: base, prompts, n, size
    and the rest of the protocol that published tables state.  over_trainings: by row and
    metric, of rows with at least three trainings.  missing: rows that it lacks, in a run that is
    not finished or that left some out.  timing: None where contestants were not timed in turns.
    step_response: every doubling of steps of a contestant that the run has.
    """

    suite: str
    protocol: str
    environment: dict[str, Any]
    seconds: dict[str, float]
    contestants: list[Contestant]
    comparisons: list[Comparison] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    title: str = ""
    limit: int | None = None
    sensitivity: dict[str, Sensitivity] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    over_trainings: dict[str, dict[str, OverTrainings]] = field(default_factory=dict)
    missing: list[MissingRow] = field(default_factory=list)
    timing: Timing | None = None
    step_response: list[StepResponse] = field(default_factory=list)

    @property
    def to_come(self) -> list[MissingRow]:
        """The rows that are still to be drawn; none of a finished run."""
        return [row for row in self.missing if not row.why]

    @property
    def left_out(self) -> list[MissingRow]:
        """The rows that could not be drawn."""
        return [row for row in self.missing if row.why]

    def contestant(self, name: str) -> Contestant:
        """The contestant of a name. Raises KeyError."""
        for contestant in self.contestants:
            if contestant.name == name:
                return contestant
        raise KeyError(name)

    def metric_names(self) -> list[str]:
        """Every metric that some contestant has, in the order of first appearance."""
        return list(dict.fromkeys(m for c in self.contestants for m in c.metrics))


def to_json(summary: Summary) -> dict[str, Any]:
    """Plain dicts and lists, schema_version first."""
    found = {"schema_version": summary.schema_version, **dataclasses.asdict(summary)}
    for claim in found["claims"]:
        if claim["about"] == METHODS:
            del claim["about"]  # as results before there were claims about weights
    return found


def from_json(data: Any, where: str = "result.json") -> Summary:
    """The Summary of what `to_json` gave; fields it does not know are left out.

    Raises UsageError for another schema_version, a missing field or one of another type.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where}: not a result.json (expected an object at the top)")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UsageError(f"{where}: schema_version is {version!r}; this reads {SCHEMA_VERSION}")
    return validation.read(Summary, data, where=where, extra="ignore")


def write(summary: Summary, path: Path) -> None:
    """Write result.json, whole or not at all: readers see the old one or the new.

    Raises ValueError where a number is not finite, OSError where the folder cannot be written.
    """
    plain = json.loads(json.dumps(to_json(summary), allow_nan=False))
    text = json.dumps({**plain, "sha256": _checksum(plain)}, indent=1, ensure_ascii=False)
    with written_whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def _checksum(data: dict[str, Any]) -> str:
    """sha256 of all that result.json holds but itself, however it is laid out."""
    text = json.dumps({**data, "sha256": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> Summary:
    """The Summary in a file, or in a run folder's result.json.

    Raises UsageError, one line, where it is missing, damaged, changed since it was written (one
    without a checksum cannot tell) or of another schema.
    """
    path = path / "result.json" if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({os_words(error)})") from None
    except json.JSONDecodeError as error:
        said = mistaken(path, JSON) or f"damaged, not JSON from line {error.lineno} on"
        raise UsageError(f"{path}: {said}") from None
    except (ValueError, RecursionError):
        said = mistaken(path, JSON) or "damaged, not JSON in UTF-8"
        raise UsageError(f"{path}: {said}") from None
    if isinstance(data, dict) and data.get("sha256") not in (None, _checksum(data)):
        raise UsageError(f"{path}: its checksum is wrong, it was damaged or changed by hand; the "
                         "same task=run writes it again from the cache")  # fmt: skip
    return from_json(data, str(path))
