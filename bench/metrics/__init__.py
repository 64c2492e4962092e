"""Metrics by name: on the shapes world's own networks, or on published ones.

`bench.statistics.metrics` has a row for each; this module makes the metric. A suite may set, per
metric, the settings in which papers differ:

    metrics:
      clip: {model: ViT-g-14, weights: laion2b_s12b_b42k, prefix: "A photo depicts "}
      hps: {version: v2.0}
      fid: {resize: pytorch_fid, reference: val2014.npz}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pkgutil import resolve_name

from bench.errors import UsageError, nearest
from bench.metrics.base import Extractor, Metric
from bench.metrics.extractor import extractor
from bench.metrics.networks.base import Network, leave_for_drawing, make_room, one_at_a_time
from bench.statistics.metrics import METRICS, Maker, measured_on
from bench.statistics.result import Result

HALF = "fp16"  # of networks that it moves by less than matters: docs/metrics.md
Make = Callable[[str, Network, Mapping[str, str]], Metric]

__all__ = ["Extractor", "Metric", "Network", "Result", "extractor", "half",
           "leave_for_drawing", "make_room", "metric", "network_of", "one_at_a_time",
           "takes"]  # fmt: skip


def metric(
    name: str, settings: Mapping[str, str] | None = None, *, published: bool = False
) -> Metric:
    """The metric of a name, ready to evaluate.

    settings: what a suite says under `metrics.<name>`; for paired metrics also the identity of the
    teacher, under "against".  published: on published networks instead of the world's.
    Raises UsageError: unknown metric or setting, missing weights or reference, a reference of
    another network (`hypersd.hub_client.NotFetched` for weights that a run would fetch first).
    """
    maker = _maker(name, published)
    network = network_of(name, settings, published=published)
    make: Make = resolve_name(maker.make)
    return make(name, network, settings or {})


def network_of(
    name: str, settings: Mapping[str, str] | None = None, *, published: bool = False
) -> Network:
    """The network under a metric, by name and settings. Raises UsageError as `metric`."""
    maker = _maker(name, published)
    make, of_network = _of_network(maker)
    given = settings or {}
    valid = (*of_network, *maker.keys)
    for key in given:
        if key not in valid:
            hint = nearest(key, valid) if valid else "it has none on these networks"
            raise UsageError(f"metrics.{name}: no setting {key!r}; {hint}")
    return make(**{key: value for key, value in given.items() if key in of_network})


def takes(name: str, key: str) -> bool:
    """Whether the published network under a metric has a setting of that name."""
    return key in _of_network(_maker(name, published=True))[1]


def half(name: str) -> str:
    """The half precision that the published network under a metric runs in on a GPU."""
    make = _of_network(_maker(name, published=True))[0]
    return str(getattr(make, "half", HALF))


def _of_network(maker: Maker) -> tuple[Callable[..., Network], tuple[str, ...]]:
    """The function that makes a metric's network, and the settings that it takes."""
    make: Callable[..., Network] = resolve_name(maker.network)
    return make, tuple(inspect.signature(make).parameters)


def _maker(name: str, published: bool) -> Maker:
    row = METRICS.get(name)
    found = None if row is None else row.published if published else row.world
    if found is None:
        family = "published networks" if published else "the world's networks"
        where = f" on {family}" if row else ""
        valid = measured_on(published=published)
        raise UsageError(f"no metric {name!r}{where}; {nearest(name, valid)}")
    return found
