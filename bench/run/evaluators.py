"""What a suite's metrics fetch before they can judge: their networks, each file once."""

from __future__ import annotations

from dataclasses import dataclass

from bench import hub
from bench.errors import UsageError
from bench.run.judges import judge
from bench.suite.suite import Suite


@dataclass(frozen=True)
class Evaluator:
    """A file that is not on this machine. size: about how many bytes, None where not known."""

    source: str
    metrics: tuple[str, ...]
    size: int | None
    licence: str


def to_fetch(suite: Suite) -> list[Evaluator]:
    """Every file that the metrics of a suite lack, and which metrics; what else is wrong with them
    is not said here."""
    from bench.metrics.weights import NotHere

    wanted: dict[str, list[str]] = {}
    for name in suite.metrics:
        try:
            judge(suite, name)
        except NotHere as error:
            for sources in error.files:
                wanted.setdefault(sources[0].split("#")[0], []).append(name)
        except UsageError:
            continue
    return [
        Evaluator(source, tuple(names), *hub.of_source(source)) for source, names in wanted.items()
    ]
