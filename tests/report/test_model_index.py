"""tables/model-index.yaml: what huggingface_hub reads out of it is what the result holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index

from bench.report import tables
from bench.results.summary import Summary


@pytest.fixture
def whole(example_summary: Callable[..., Summary]) -> Summary:
    """A run at one and four steps."""
    return example_summary(steps=(1, 4))


def index(summary: Summary, out: Path) -> list[dict[str, object]]:
    """The list in the file of a result's tables."""
    tables.write(summary, out)
    held = yaml.safe_load((out / "tables/model-index.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, object]] = held["model-index"]
    return found


def test_each_entry_is_a_model_card_of_the_hub(whole: Summary, tmp_path: Path) -> None:
    models = index(whole, tmp_path)
    drawn = [c for c in whole.contestants if not c.is_anchor and c.metrics]
    found = {}
    for model in models:
        data = ModelCardData(**{"model-index": [model]})
        assert data.model_name == model["name"]
        for result in data.eval_results or []:
            found[f"{model['name']}-{result.dataset_config}", result.metric_type] = result
        # what the hub writes again is the same, so nothing is outside of its schema
        assert eval_results_to_model_index(data.model_name, data.eval_results) == [model]
    assert len(found) == sum(len(c.metrics) for c in drawn)
    for contestant in drawn:
        for name, value in contestant.metrics.items():
            result = found[contestant.name, name]
            assert abs(result.metric_value - value.value) <= 1e-5 * abs(value.value)
            assert result.task_type == "text-to-image"
            assert result.metric_args["identity"] == value.identity
            assert result.dataset_args["protocol"] == whole.protocol


def test_a_card_with_an_entry_reads_back(whole: Summary, tmp_path: Path) -> None:
    model = index(whole, tmp_path)[0]
    front = yaml.safe_dump({"license": "apache-2.0", "model-index": [model]})
    card = ModelCard(f"---\n{front}---\n\n# Mine\n")
    assert card.data.model_name == model["name"] and card.data.license == "apache-2.0"
    assert card.data.eval_results


def test_anchors_are_no_models(whole: Summary, tmp_path: Path) -> None:
    names = {str(model["name"]) for model in index(whole, tmp_path)}
    assert names and not names & {"real", "vae_round_trip", "shuffled_captions"}
