"""The judges of a suite: its metrics and the networks under them, as a plan must know them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from bench.contestants import identity
from bench.contestants.hashes import Hashes
from bench.errors import UsageError
from bench.results.keys import digest
from bench.statistics.metrics import spec
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite
from hypersd.hub import NotFetched

if TYPE_CHECKING:
    from bench.metrics import Metric

AGAINST = "against="  # and an identity: how the name of an extractor that compares ends


@dataclass(frozen=True)
class Judges:
    """metrics, extractors: identities by name, as far as they could be read.  to_fetch: what a run
    fetches for them first.  missing: what they lack, a clause each."""

    metrics: Mapping[str, str]
    extractors: Mapping[str, str]
    to_fetch: tuple[str, ...]
    missing: list[str]


def judge(suite: Suite, name: str) -> Metric:
    """A metric of a suite: on the world's networks, or on published ones with its settings.

    Raises UsageError for missing weights or references, NotFetched for what a run would fetch.
    """
    from bench.metrics import metric

    found = metric(name, suite.metric_settings.get(name, {}), published=suite.published)
    if spec(name).of_repeats and suite.repeats is not None:
        made: Metric = replace(cast(Any, found), over=suite.repeats.words)
        return made
    return found


def of(suite: Suite) -> Judges:
    """Those of a suite's metrics. What is wrong with one is said, and the others are read on."""
    from bench.metrics import extractor

    metrics: dict[str, str] = {}
    extractors: dict[str, str] = {}
    missing: dict[str, None] = {}
    fetched: dict[str, None] = {}
    for name in suite.metrics:
        try:
            found = judge(suite, name)
            extractors[found.extractor] = extractor(found.extractor, "cpu").identity
            metrics[name] = found.identity
        except NotFetched as error:
            fetched[str(error)] = None
        except UsageError as error:
            missing[str(error)] = None
    return Judges(metrics, extractors, tuple(fetched), list(missing))


def with_teacher(suite: Suite, chosen: PromptSet, hashes: Hashes) -> Suite:
    """The suite whose metrics against the teacher's own images know the teacher's identity.

    Raises UsageError where it has no such contestant, or several.
    """
    paired = [name for name in suite.metrics if spec(name).paired]
    teachers = [row for row in suite.rows if row.settings.method == "teacher"]
    if not paired:
        return suite
    if len(teachers) != 1:
        raise UsageError(f"metric {paired[0]!r}: needs one row of method teacher to hold images "
                         f"against; there are {len(teachers)}")  # fmt: skip
    with contextlib.suppress(UsageError):  # what it lacks is said of its row
        who = {"against": identity.contestant(teachers[0], chosen, hashes)}
        settings = {name: {**suite.metric_settings.get(name, {}), **who} for name in paired}
        return replace(suite, metric_settings={**suite.metric_settings, **settings})
    return suite


def judged(extractors: Iterable[str], identity: str) -> list[str]:
    """The extractors that see a contestant's images: none for the teacher that compares with it."""
    return [name for name in extractors if not name.endswith(f"{AGAINST}{identity}")]


def feature_key(slice_key: str, extractor: str) -> str:
    """The name of a slice's features in the cache."""
    return digest([slice_key, extractor])
