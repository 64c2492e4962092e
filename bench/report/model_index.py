"""`tables/model-index.yaml`: a run's figures as the metadata of model cards on the hub.

    model-index:
    - name: hyper_sd                       # a contestant; its rows are results
      results:
      - task: {type: text-to-image}
        dataset: {type: shapes/test, name: ..., config: 1step, args: {...}}
        metrics:
        - {type: clip, value: 77.25, name: CLIP, args: {low: 76.6, high: 77.9, n: 1000, ...}}

Schema: https://github.com/huggingface/hub-docs/blob/main/modelcard.md, read by
`huggingface_hub.repocard_data`. A card describes one model, so a user copies one entry of the list.
Anchors are no models and are left out.
"""

from __future__ import annotations

from typing import Any

from bench.report.words import groups, metric_words
from bench.results.summary import Contestant, MetricValue, Summary

TASK = {"type": "text-to-image", "name": "Text-to-Image"}
HEAD = """\
# Model card metadata of every contestant. A card is of one model: copy its entry of the list into
# the front matter of its README.md, below `model-index:`, under the model's own name.
"""


def text(summary: Summary) -> str:
    """The file's YAML; "" of a run without scores."""
    import yaml

    found = model_index(summary)
    if not found:
        return ""
    return HEAD + yaml.safe_dump({"model-index": found}, sort_keys=False, allow_unicode=True)


def model_index(summary: Summary) -> list[dict[str, Any]]:
    """An entry per contestant, with a result per number of steps."""
    rows = [c for _, members in groups(summary) for c in members]
    models: dict[str, list[dict[str, Any]]] = {}
    for contestant in rows:
        if not contestant.is_anchor and contestant.metrics:
            models.setdefault(_model(contestant), []).append(_result(summary, contestant))
    return [{"name": name, "results": results} for name, results in models.items()]


def _model(contestant: Contestant) -> str:
    """A contestant's name without its number of steps."""
    return contestant.name.removesuffix(f"-{contestant.steps}step")


def _result(summary: Summary, contestant: Contestant) -> dict[str, Any]:
    known = summary.conditions
    prompts = str(known.get("prompts") or summary.suite)
    dataset = {
        "type": prompts,
        "name": f"{prompts}, {contestant.n:,} images ({summary.title or summary.suite})",
        "config": "images" if contestant.steps is None else f"{contestant.steps}step",
        "args": {
            "suite": summary.suite,
            "protocol": summary.protocol,
            "images": contestant.n,
            "seeds": list(contestant.seeds),
            **{key: known[key] for key in ("size", "base") if known.get(key) is not None},
            **({} if contestant.steps is None else {"steps": contestant.steps}),
            **({} if summary.limit is None else {"limit": summary.limit}),
        },
    }
    metrics = [_metric(name, value) for name, value in contestant.metrics.items()]
    return {"task": dict(TASK), "dataset": dataset, "metrics": metrics}


def _metric(name: str, value: MetricValue) -> dict[str, Any]:
    """Six figures of a value and of its 95 % interval."""
    return {
        "type": name,
        "value": _figures(value.value),
        "name": metric_words(name).title,
        "args": {
            "low": _figures(value.low),
            "high": _figures(value.high),
            "n": value.n,
            "higher_is_better": value.higher_is_better,
            "identity": value.identity,
        },
    }


def _figures(value: float) -> float:
    return float(f"{value:.6g}")
