"""Metrics on small made-up networks, their identities, and the torchmetrics adapter."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import cli, metrics
from bench.errors import UsageError
from bench.metrics.aesthetic import Aesthetic
from bench.metrics.cosine import CosineScore
from bench.metrics.faithful import Faithful
from bench.metrics.frechet import FrechetDistance
from bench.metrics.networks import base, world
from bench.metrics.networks.placement import Placement
from bench.metrics.references import ReferenceFeatures, ReferenceStatistics
from bench.run import metric_identities
from bench.statistics.metrics import METRICS
from bench.suite import suite


class Colours:
    """An extractor: the mean of each channel, in 0..1."""

    name = "shapes_features"
    identity = "colours/1"

    def __call__(self, images: Any, prompts: Sequence[str]) -> np.ndarray:
        return np.asarray(images, np.float32).mean(axis=(1, 2)) / 255


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def embedded(texts: list[str]) -> torch.Tensor:
    """A text embedding of two dimensions: the angle is the text's number in degrees."""
    angles = torch.tensor([float(text) for text in texts]) * torch.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for the world's evaluators, and for the checksums of their weights."""
    module = types.ModuleType("hypersd.shapes.evaluators")
    clip = types.SimpleNamespace(
        encode_image=lambda images: images.float().mean(dim=(1, 2)), encode_text=embedded
    )
    stand_ins: dict[str, Any] = {
        "load_clip": lambda name, device: clip,
        "load_features": lambda device: lambda images: images.float().mean(dim=(1, 2)),
        "load_aesthetic": lambda device: lambda features: features.sum(dim=1),
        "load_oracle": lambda device: types.SimpleNamespace(
            judge=lambda images, prompts: torch.ones(len(images), 6)
        ),
    }
    for name, stand_in in stand_ins.items():
        setattr(module, name, stand_in)
    monkeypatch.setitem(sys.modules, "hypersd.shapes.evaluators", module)
    monkeypatch.setattr("hypersd.shapes.weights.weights_sha256", lambda name: f"{name:0<64}")
    monkeypatch.setattr(base, "LOADED", Placement())
    monkeypatch.setattr(world, "_clip_model", world._clip_model.__wrapped__)
    return module


def test_cosine_scores_are_cosines_times_hundred() -> None:
    images = embedded(["0", "0", "0"]).numpy()
    score = CosineScore("clip", "net", "shapes_clip", embedded)
    result = score.evaluate(images, ["0", "60", "180"], [0, 1, 2])
    assert result.per_prompt == pytest.approx([100.0, 50.0, -100.0], abs=1e-4)
    assert result.value == pytest.approx(50 / 3, abs=1e-4)
    assert result.low < result.value < result.high


def test_a_prompt_is_embedded_once() -> None:
    seen: list[str] = []

    def counting(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return embedded(texts)

    score = CosineScore("clip", "net", "shapes_clip", counting)
    images = embedded(["0"] * 4).numpy()
    first = score.evaluate(images, ["0", "60", "0", "60"], [0, 1, 0, 1])
    score.evaluate(images, ["60", "0", "60", "0"], [1, 0, 1, 0])
    assert seen == ["0", "60"]
    assert (first.n, len(first.prompts)) == (4, 2)


def test_of_the_three_pools_one_is_a_reward(installed: types.ModuleType) -> None:
    del installed
    networks = {name: metrics.metric(name) for name in ("hps", "pick", "image_reward")}
    for method in ("lcm", "dmd", "lightning", "tscd_dmd"):
        assert {name: m.trained_on(method) for name, m in networks.items()} == {
            "hps": "no", "pick": "no", "image_reward": "no",
        }  # fmt: skip
    for method in ("hyper_sd", "hyper_sd_unified", "tcd_feedback"):
        assert networks["image_reward"].trained_on(method) == "network"
        assert networks["hps"].trained_on(method) == networks["pick"].trained_on(method) == "no"


def test_an_evaluator_that_is_not_trained_yet_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypersd.shapes.weights.FOLDER", tmp_path)
    with pytest.raises(
        UsageError, match=r"recipe=shapes_pick && python -m hypersd\.shapes\.ship p"
    ):
        metrics.metric("pick")


def test_aesthetic_is_the_mean_of_the_heads_ratings_and_knows_who_learned_its_labels() -> None:
    metric = Aesthetic(lambda features: features[:, 0], "net")
    result = metric.evaluate(np.array([[4.0], [6.0]], np.float32), ["", ""], [0, 1])
    assert result.value == 5.0
    assert [metric.trained_on(m) for m in ("lcm", "tcd", "tscd")] == ["no"] * 3
    assert metric.trained_on("tscd_feedback") == "labels"


def test_faithful_is_the_share_drawn_entirely_right_with_parts_among_those_who_ask() -> None:
    nan = np.nan
    judged = np.array(
        [[1, 1, 1, 1, nan, 1], [0, 1, 1, 0, 0, 1], [0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
        np.float32,
    )
    result = Faithful("oracle").evaluate(judged, ["a", "b", "c", "d"], [0, 1, 2, 3])
    assert result.value == 0.5
    assert 0 < result.low < 0.5 < result.high < 1
    assert result.parts == {
        "shape": 1.0,
        "colour": 0.75,
        "size": 0.75,
        "relation": pytest.approx(2 / 3),
        "count": 1.0,
    }


def test_faithful_names_the_prompt_that_the_oracle_cannot_read() -> None:
    judged = np.full((2, 6), np.nan, np.float32)
    judged[0] = 1
    with pytest.raises(UsageError, match=r"prompt 8 'a photo of a dog' .* leave 'faithful' out"):
        Faithful("oracle").evaluate(judged, ["a", "a photo of a dog"], [7, 8])


def test_every_metric_has_what_the_contract_says(
    installed: types.ModuleType, tmp_path: Path
) -> None:
    del installed
    network = metrics.extractor("shapes_features").identity
    drawn = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    ref = ReferenceFeatures("r", network, drawn)
    identities = set()
    ref.save(tmp_path / "ref.safetensors")
    names = [name for name, row in METRICS.items() if row.world]
    for name in names:
        maker = METRICS[name].world
        referred = maker is not None and "reference" in maker.keys
        settings = {"reference": str(tmp_path / "ref.safetensors")} if referred else {}
        metric = metrics.metric(name, settings)
        assert metric.name == name
        assert metric.higher_is_better == (not name.startswith(("fid", "kid", "perceptual")))
        assert all(metric.trained_on(method) == "no" for method in ("lcm", "tcd", "tscd"))
        assert metrics.extractor(metric.extractor).identity in metric.identity
        identities.add(metric.identity)
    assert len(identities) == len(names)


def test_extractors_give_one_fp32_row_per_image(installed: types.ModuleType) -> None:
    del installed
    for name in ("shapes_clip", "shapes_hps", "shapes_features", "shapes_oracle"):
        extractor = metrics.extractor(name, "cpu")
        features = extractor(pictures(3), ["1", "2", "3"])
        assert features.dtype == np.float32
        assert len(features) == 3
        assert np.array_equal(extractor(torch.tensor(pictures(3)), ["1", "2", "3"]), features)
        assert "weights=" in extractor.identity
    with pytest.raises(ValueError, match="need uint8"):
        metrics.extractor("shapes_clip")(pictures(2).astype(np.float32), ["1", "2"])
    with pytest.raises(ValueError, match="2 images but 1 prompts"):
        metrics.extractor("shapes_clip")(pictures(2), ["1"])


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'aesthetic'"):
        metrics.metric("asthetic")
    with pytest.raises(UsageError, match="did you mean 'shapes_clip'"):
        metrics.extractor("shape_clip")


@pytest.mark.parametrize("name", ["fid", "fid_teacher", "kid", "recall"])
def test_a_distance_is_to_pictures_of_the_split_that_the_prompts_are_of(name: str) -> None:
    """Splits share no combination of attributes: real renders of one are far from the other's."""
    made = {}
    for split in ("test", "validation"):
        values = {"title": "t", "version": 1, "steps": [1], "metrics": [name], "contestants": {
            "real": {}}, "prompts": {"set": f"shapes/{split}"}}  # fmt: skip
        made[split] = metric_identities.metric_of(suite.read("s", values), name)
    assert "_validation:" in made["validation"].identity
    assert made["test"].identity == metrics.metric(name).identity
    reference = metrics.metric(name).identity.split("reference=")[1].split(":")[0]
    settings = {
        "metrics": {name: {"reference": reference}},
        "prompts": {"set": "shapes/validation"},
    }
    with pytest.raises(
        UsageError, match=r"is of shapes/test, the prompts are of shapes/validation"
    ):
        metric_identities.metric_of(suite.read("s", {**values, **settings}), name)


def test_a_reference_of_another_network_is_refused(
    installed: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed
    monkeypatch.setattr("hypersd.shapes.weights.FOLDER", tmp_path)
    with pytest.raises(UsageError, match=r"make it with: python -m bench.run.references real$"):
        metrics.metric("fid")
    ReferenceStatistics("real", "other network", np.zeros(3), np.eye(3), 9).save(
        tmp_path / "reference" / "real.safetensors"
    )
    with pytest.raises(UsageError, match="was made with 'other network'"):
        metrics.metric("fid")
    with pytest.raises(UsageError, match=r"make it with: python -m bench.run.references teacher$"):
        metrics.metric("fid_teacher")
    (tmp_path / "reference" / "real.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match="is a text; valid: a safetensors file"):
        metrics.metric("fid")
    with pytest.raises(UsageError, match=r"no reference /nonexistent/real\.safetensors"):
        metrics.metric("fid", {"reference": "/nonexistent/real.safetensors"})


HEAVY = ("torch", "open_clip", "diffusers", "transformers", "peft", "scipy", "matplotlib", "PIL")
PLAN = """
import sys
from pathlib import Path
from hypersd.shapes import weights
weights.FOLDER = Path(sys.argv[1])
from bench import cli, metrics
from bench.metrics.references import ReferenceFeatures, ReferenceStatistics
import numpy as np
network = metrics.extractor("shapes_features").identity
for name in ("real", "teacher"):
    reference = ReferenceStatistics(name, network, np.zeros(64), np.eye(64), 9)
    reference.save(weights.FOLDER / "reference" / f"{name}.safetensors")
assert cli.main(["suite=shapes_1step", "task=plan", "cache=" + sys.argv[1] + "/cache"]) == 0
print("heavy:", [name for name in sys.argv[2:] if name in sys.modules])
"""


def test_a_plan_with_all_weights_imports_no_network(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    (tmp_path / "base").symlink_to(tiny_base)
    for name in ("lcm", "tcd", "tscd"):
        (tmp_path / name).symlink_to(tiny_lora)
    for name in ("lightning_unet", "hyper_sd_1step_unet"):
        (tmp_path / name).symlink_to(tiny_base / "unet")
    for name in ("clip", "hps", "aesthetic", "features", "oracle"):
        (tmp_path / name).mkdir()
        for file in ("model.safetensors", "open_clip_model.safetensors"):
            (tmp_path / name / file).write_bytes(name.encode())
    command = [sys.executable, "-c", PLAN, str(tmp_path), *HEAVY]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "network evaluations" in said and "missing" not in said
    assert said.splitlines()[-1] == "heavy: []"


def test_adapter_gives_the_metric_over_all_batches() -> None:
    from bench.metrics.adapter import ImageMetric

    ref = ReferenceStatistics.of(
        Colours()(pictures(200, 1), []), name="real", extractor="colours/1"
    )
    adapter = ImageMetric(Colours(), FrechetDistance(ref))
    images, prompts = pictures(30), [f"prompt é {i}" for i in range(30)]
    for start in range(0, 30, 10):
        adapter.update(images[start : start + 10], prompts[start : start + 10])
    direct = FrechetDistance(ref).evaluate(Colours()(images, prompts), prompts, range(30))
    assert float(adapter.compute()) == direct.value
    assert adapter.result().low == direct.low
    assert adapter.higher_is_better is False
    adapter.reset()
    adapter.update(images[:10], prompts[:10], clusters=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert len(adapter.result().prompts) == 5


def test_adapter_hands_each_prompt_to_its_image() -> None:
    from bench.metrics.adapter import ImageMetric

    class Right:
        name, identity = "shapes_clip", "right/1"

        def __call__(self, images: Any, prompts: Sequence[str]) -> np.ndarray:
            return unit(np.tile([[1.0, 0.0]], (len(prompts), 1)))

    adapter = ImageMetric(Right(), CosineScore("clip", "right/1", "shapes_clip", embedded))
    adapter.update(pictures(2), ["0", "90"])
    adapter.update(pictures(1), ["60"])
    assert float(adapter.compute()) == pytest.approx(50.0, abs=1e-4)


def test_on_cuda_scores_run_in_half_precision_and_distances_do_not() -> None:
    plain = cli.read(["suite=sdxl_1step", "metrics.hps.precision=fp32"]).suite
    assert plain is not None and metric_identities.on_device(plain, "cpu") is plain
    of_cuda = metric_identities.on_device(plain, "cuda").metric_settings
    given = {name: row.get("precision") for name, row in of_cuda.items() if "precision" in row}
    scores = {"clip", "aesthetic", "image_reward", "pick"} & set(plain.metrics)
    assert given == {"hps": "fp32", **dict.fromkeys(scores, "fp16")} and scores
    for name in scores:
        network = metrics.network_of(name, of_cuda[name], published=True)
        assert "precision=fp16" in network.name
    with pytest.raises(UsageError, match="no setting 'precision'"):
        metrics.network_of("fid", {"precision": "fp16"}, published=True)
    world = cli.read(["suite=shapes_1step"]).suite
    assert world is not None and metric_identities.on_device(world, "cuda") is world
