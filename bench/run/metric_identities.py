"""The metrics of a suite, their networks, and the files to fetch first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench import metrics
from bench.contestants import identity
from bench.errors import UsageError
from bench.metrics import Metric, Network
from bench.metrics.references import NoReference
from bench.metrics.weights import NotHere
from bench.results import hub
from bench.statistics.metrics import spec
from bench.suite.prompts import SETS, PromptSet
from bench.suite.suite import Suite
from hypersd.hashes import Hashes, digest

AGAINST = "against="  # and an identity: how the name of an extractor that compares ends


@dataclass(frozen=True)
class Evaluator:
    """A file of the metrics' networks that is not on this machine.

    source: where it comes from, for people; sources: all of them, the best one first.  metrics:
    that need it.  size: about how many bytes, None where not known.
    """

    source: str
    metrics: tuple[str, ...]
    size: int | None
    licence: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricIdentities:
    """metrics, extractors: identities by name, as far as they could be read.  to_fetch: what a run
    fetches for them first.  missing: what they lack, a clause each."""

    metrics: Mapping[str, str]
    extractors: Mapping[str, str]
    to_fetch: tuple[Evaluator, ...]
    missing: list[str]


def on_device(suite: Suite, kind: str) -> Suite:
    """The suite whose metrics say which precision their networks run in: on CUDA half precision,
    where a metric takes it and the suite says nothing.

    kind: "cuda", "mps" or "cpu".
    """
    if kind != "cuda" or not suite.published:
        return suite
    settings = dict(suite.metric_settings)
    for name in suite.metrics:
        if spec(name).published is not None and metrics.takes(name, "precision"):
            settings[name] = {"precision": metrics.half(name), **settings.get(name, {})}
    return replace(suite, metric_settings=settings)


def network_bytes(suite: Suite) -> list[int]:
    """Bytes of each network of a suite's metrics, in its precision, estimated; unknown ones are
    left out."""
    found: dict[str, int] = {}
    for name in suite.metrics if suite.published else ():
        with contextlib.suppress(UsageError):  # what is wrong is said where identities are read
            network = metrics.network_of(name, _of_network(suite, name), published=True)
            half = getattr(network, "precision", "fp32") != "fp32"
            sizes = [_size(source) for source in network.sources]
            size = next((one for one in sizes if one is not None), 0)
            whole = 2 * size if network.is_published_half else size
            found[network.name] = whole // 2 if half else whole
    return list(found.values())


def _of_network(suite: Suite, name: str) -> dict[str, str]:
    given = suite.metric_settings.get(name, {})
    return {key: value for key, value in given.items() if metrics.takes(name, key)}


def _size(source: str) -> int | None:
    path = Path(source)
    return path.stat().st_size if path.is_file() else hub.of_source(source.split("#")[0])[0]


def identities(suite: Suite, unmade: Mapping[str, Network] | None = None) -> MetricIdentities:
    """The identities of a suite's metrics.

    A fault of one is noted, and the others are read. unmade: networks of metrics whose reference a
    run makes first; these have no identity yet.
    """
    found: dict[str, str] = {}
    extractors: dict[str, str] = {}
    missing: dict[str, None] = {}
    wanted: dict[tuple[str, ...], list[str]] = {}
    for name in suite.metrics:
        try:
            network = (unmade or {}).get(name)
            if network is not None and _lacks_its_reference(suite, name):
                extractors[network.name] = network.identity
                continue
            metric = metric_of(suite, name)
            extractors[metric.extractor] = metrics.extractor(metric.extractor, "cpu").identity
            found[name] = metric.identity
        except NotHere as error:
            for sources in error.files:
                wanted.setdefault(tuple(sources), []).append(name)
        except UsageError as error:
            missing[str(error)] = None
    return MetricIdentities(found, extractors, _evaluators(wanted), list(missing))


def _lacks_its_reference(suite: Suite, name: str) -> bool:
    """Whether a metric's reference is not here. Raises UsageError for what is wrong otherwise."""
    try:
        metric_of(suite, name)
    except NoReference:
        return True
    return False


def _evaluators(wanted: Mapping[tuple[str, ...], Sequence[str]]) -> tuple[Evaluator, ...]:
    """wanted: names of metrics by the sources of a file."""
    places = {sources: sources[0].split("#")[0] for sources in wanted}
    return tuple(
        Evaluator(places[sources], tuple(names), *hub.of_source(places[sources]), sources)
        for sources, names in wanted.items()
    )


def metric_of(suite: Suite, name: str) -> Metric:
    """A metric of a suite: on the world's networks, or on published ones with its settings. The
    world's references are those of the split that the prompts are of.

    Raises UsageError for missing weights or references, NotHere for what a run would fetch.
    """
    settings = suite.metric_settings.get(name, {})
    maker, split = spec(name).world, SETS.get(suite.prompt_set)
    if not suite.published and split is not None and maker is not None and "split" in maker.keys:
        settings = {**settings, "split": split}
    found = metrics.metric(name, settings, published=suite.published)
    if spec(name).of_repeats and suite.repeats is not None:
        made: Metric = replace(cast(Any, found), over=suite.repeats.words)
        return made
    return found


def with_teacher(suite: Suite, prompts: PromptSet, hashes: Hashes) -> Suite:
    """The suite whose metrics against the teacher's own images, or their spread, know the
    teacher's identity.

    Raises UsageError where it has no such contestant, or several.
    """
    paired = [name for name in suite.metrics if spec(name).paired or spec(name).of_teacher]
    if not paired:
        return suite
    teachers = [row for row in suite.rows if row.settings.method == "teacher"]
    if len(teachers) != 1:
        raise UsageError(f"metric {paired[0]!r}: needs one row of method teacher to hold images "
                         f"against; there are {len(teachers)}")  # fmt: skip
    with contextlib.suppress(UsageError):  # what its row lacks, the row's planning says
        teacher = {"against": identity.contestant(teachers[0], prompts, hashes)}
        settings = {name: {**suite.metric_settings.get(name, {}), **teacher} for name in paired}
        return replace(suite, metric_settings={**suite.metric_settings, **settings})
    return suite


def extractors_of(extractors: Iterable[str], identity: str) -> list[str]:
    """The extractors that see a contestant's images: none for the teacher that compares with it."""
    return [name for name in extractors if not name.endswith(f"{AGAINST}{identity}")]


def feature_key(slice_key: str, extractor: str) -> str:
    """The cache key of a slice's features."""
    return digest([slice_key, extractor])
