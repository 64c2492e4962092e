"""Metrics on published networks as a suite asks for them, on small networks of the same classes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from bench import metrics
from bench.errors import UsageError
from bench.metrics import weights
from bench.metrics.adapter import ImageMetric
from bench.metrics.frechet import frechet
from bench.metrics.networks.inception import Inception
from bench.metrics.references import ReferenceFeatures, ReferenceStatistics
from bench.results.keys import Key
from bench.run import finish, metric_identities, real_references
from bench.suite import protocols, suite
from tests.real.hub_server import serving

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
PROMPTS = ["a red cube", "a blue ball on a table", "dusk", "one two three " * 8]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.CLIP(**CONFIG).state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    shown = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    about = {"model_cfg": CONFIG, "preprocess_cfg": shown}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def test_clip_with_a_prefix_is_100_cos_of_the_two_embeddings(
    clip: Path, images: np.ndarray
) -> None:
    settings = {"model": f"local-dir:{clip}", "prefix": "A photo depicts "}
    metric = metrics.metric("clip", settings, published=True)
    tower = metrics.extractor(metric.extractor, "cpu")
    assert tower.identity in metric.identity
    assert str(clip) not in metric.identity
    found = metric.evaluate(tower(images, PROMPTS), PROMPTS, range(4))
    model = open_clip.create_model(f"local-dir:{clip}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{clip}")([f"A photo depicts {p}" for p in PROMPTS])
    with torch.inference_mode():
        x = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
        cosines = (model.encode_image(x, True) * model.encode_text(ids, True)).sum(dim=1)
    assert found.per_prompt == pytest.approx(100 * cosines.numpy(), abs=1e-3)


def test_the_same_score_in_a_training_loop(clip: Path, images: np.ndarray) -> None:
    metric = metrics.metric("clip", {"model": f"local-dir:{clip}"}, published=True)
    tower = metrics.extractor(metric.extractor, "cpu")
    adapter = ImageMetric(tower, metric)
    adapter.update(images[:3], PROMPTS[:3])
    adapter.update(images[3:], PROMPTS[3:])
    whole = metric.evaluate(tower(images, PROMPTS), PROMPTS, range(4))
    assert float(adapter.compute()) == pytest.approx(whole.value, abs=1e-4)


def test_aesthetic_shares_the_tower_and_is_w_x_plus_b(clip: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    w, b = rng.normal(size=16).astype(np.float32), np.float32(5.0)
    head = tmp_path / "head.pth"
    torch.save({"weight": torch.tensor(w)[None], "bias": torch.tensor([b])}, head)
    model = f"local-dir:{clip}"
    rated = metrics.metric("aesthetic", {"model": model, "head": str(head)}, published=True)
    assert rated.extractor == metrics.metric("clip", {"model": model}, published=True).extractor
    x = rng.normal(size=(5, 16)).astype(np.float32)
    found = rated.evaluate(x, [""] * 5, range(5))
    assert found.per_prompt == pytest.approx(x @ w + b, abs=1e-5)
    assert rated.trained_on("hyper_sd") == "network"
    assert rated.trained_on("lcm") == "no"


def test_prompts_that_a_network_cuts_are_in_the_ledger(clip: Path) -> None:
    metric = metrics.metric("clip", {"model": f"local-dir:{clip}"}, published=True)
    keys = [Key(i, text, seed) for seed in (0, 1) for i, text in enumerate(PROMPTS)]
    assert finish.truncated([metric], keys) == {"clip": "1 of 4 prompts (25.0 %): 3"}
    assert finish.truncated([metric], keys[:3]) == {}


def test_a_wrong_setting_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"metrics\.clip: no setting 'modle'.*'model'"):
        metrics.metric("clip", {"modle": "ViT-B-32"}, published=True)
    with pytest.raises(UsageError, match=r"metrics\.hps\.version=v3; valid: v2\.0, v2\.1"):
        metrics.metric("hps", {"version": "v3"}, published=True)
    with pytest.raises(UsageError, match=r"no metric 'faithful' on published networks"):
        metrics.metric("faithful", {}, published=True)
    with pytest.raises(UsageError, match=r"no metric 'cmmd' on the world's networks"):
        metrics.metric("cmmd")


NEEDS = {
    "clip": "hf://timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors",
    "hps": "hf://xswu/HPSv2/HPS_v2.1_compressed.pt",
    "image_reward": "vocab.txt, hf://THUDM/ImageReward/ImageReward.pt",
    "pick": "hf://yuvalkirstain/PickScore_v1/config.json",
    "aesthetic": "improved-aesthetic-predictor/raw/6934dd81792f086e613a121dbce43082cb8be85e/sac",
    "diversity": "config.json, hf://facebook/dinov2-large/model.safetensors",
}
SAY = """
import sys
from bench import metrics
from bench.metrics import weights
for name in sys.argv[1:]:
    try:
        metrics.metric(name, {}, published=True)
    except weights.NotHere as error:
        print(name, error)
print([name for name in ("torch", "open_clip", "transformers") if name in sys.modules])
"""


def test_what_is_to_be_fetched_is_said_without_loading_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAY, *NEEDS]
    home = {"HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1",
            "PATH": "", "PYTHONPATH": str(Path(metrics.__file__).parents[2])}  # fmt: skip
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=home).stdout
    lines = said.splitlines()
    assert len(lines) == len(NEEDS) + 1
    for (name, source), line in zip(NEEDS.items(), lines, strict=False):
        assert line.startswith(f"{name} ") and source in line
    assert lines[-1] == "[]"


def test_every_network_that_a_suite_fetches_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`aesthetic` and a second `clip` on one network: one file, with its size."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("hypersd.hub.Hub.cached", lambda *words: None)
    names = ("clip", "aesthetic", "hps", "image_reward", "pick", "diversity")
    settings = {"clip": {"model": "ViT-L-14"}}
    asked = replace(suite.read("s", yaml.safe_load(SUITE)), metrics=names, metric_settings=settings)
    found = {one.source: one for one in metric_identities.identities(asked).to_fetch}
    assert all(one.size is not None for one in found.values())
    large = found["hf://timm/vit_large_patch14_clip_224.openai/open_clip_model.safetensors"]
    assert large.metrics == ("clip", "aesthetic") and large.size == 1_710_000_000
    assert "hf://THUDM/ImageReward/ImageReward.pt" in found and len(found) == 9


SUITE = """
title: t
version: 1
base: hf://a/b
steps: [1]
prompts: {set: own, n: 2}
metrics: [clip]
contestants: {teacher: {}}
"""


def test_references_are_made_and_used_by_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of pictures -> features -> a Frechet distance to them."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Inception, "build", lambda self, device: _colours)
    monkeypatch.setattr(Inception, "path", property(lambda self: tmp_path / "w.pth"))
    (tmp_path / "w.pth").write_bytes(b"weights")
    settings = {"weights": str(tmp_path / "w.pth"), "reference": "coco"}
    tower = Inception(weights=settings["weights"])
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8) for i in range(9)]
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "images" / f"{i}.png")
    with pytest.raises(
        UsageError, match=r"no reference .*python -m bench.run.real_references coco"
    ):
        metrics.metric("fid", settings, published=True)
    real_references.write("coco", real_references.images(tmp_path / "images"), tower, "cpu")
    metric = metrics.metric("fid", settings, published=True)
    expected = np.stack([p.reshape(-1, 3).mean(axis=0) for p in pictures]).astype(np.float32)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    reference = ReferenceStatistics.of(expected, name="coco", extractor=tower.identity)
    value = metric.evaluate(x, [""] * 12, range(12)).value
    assert value == pytest.approx(frechet(x, reference)[0], rel=1e-5)
    (tmp_path / "w.pth").write_bytes(b"other weights")
    with pytest.raises(UsageError, match="was made with 'inception/1;weights="):
        metrics.metric("fid", settings, published=True)


def _colours(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    return images.float().mean(dim=(1, 2))


def test_published_statistics_serve_a_frechet_distance(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    y = np.random.default_rng(2).normal(size=(50, 4))
    np.savez(tmp_path / "val2014.npz", mu=y.mean(axis=0), sigma=np.cov(y, rowvar=False))
    settings = {"weights": str(tmp_path / "w.pth"), "reference": str(tmp_path / "val2014.npz")}
    metric = metrics.metric("fid", settings, published=True)
    found = metric.evaluate(y.astype(np.float32), [""] * 50, range(50))
    assert found.value == pytest.approx(0.0, abs=1e-5)
    assert "reference=val2014.npz:n=0:" in metric.identity
    with pytest.raises(UsageError, match="not readable as reference features"):
        metrics.metric("kid", settings, published=True)


def test_a_damaged_file_of_an_address_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    kept = tmp_path / "hub/checkpoints/net.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"other")
    digits = hashlib.sha256(b"net").hexdigest()[:8]
    with serving({"them/net": {"net.pth": b"net", "bad/net.pth": b"bad"}}) as (address, _):
        at = f"{address}/them/net/resolve/main"
        with pytest.raises(weights.NotHere, match=f"a: needs {at}/net.pth$"):
            weights.here("a", [f"{at}/net.pth#sha256={digits}"])
        with pytest.raises(UsageError, match="and was deleted"):
            weights.find("a", [f"{at}/bad/net.pth#sha256={digits}"])
        assert weights.said_of([f"{at}/net.pth#sha256={digits}"]) == (3, None)
        found = weights.find("a", [f"{at}/net.pth#sha256={digits}"])
    assert found == kept and kept.read_bytes() == b"net"


VALUES = {"title": "t", "version": 1, "steps": [4], "base": "hf://a/stable-diffusion-xl-base-1.0",
          "size": 1024, "contestants": {"lcm": {"lora": "x.safetensors"}}}  # fmt: skip


def test_a_preset_gives_what_the_suite_leaves_out() -> None:
    found = suite.read("s", {**VALUES, "preset": "hyper_sd"})
    assert found.metrics == ("clip", "aesthetic", "image_reward", "pick")
    assert (found.prompt_set, found.n, found.seeds) == ("coco2014_5k", 5000, (0,))
    found = suite.read("s", {**VALUES, "preset": "hyper_sd", "metrics": ["fid_teacher"]})
    assert found.metric_settings["fid_teacher"] == {
        "reference": "teacher_stable-diffusion-xl-base-1.0"
    }
    own = {"preset": "dmd2_coco10k", "prompts": {"n": 100}, "metrics": ["clip", "pick"]}
    found = suite.read("s", {**VALUES, **own})
    assert (found.prompt_set, found.n, found.metrics) == ("dmd2_coco10k", 100, ("clip", "pick"))
    assert found.metric_settings["clip"]["prefix"] == "A photo depicts "
    changed = {"preset": "mlperf", "metrics": {"fid": {"reference": "mine"}}}
    found = suite.read("s", {**VALUES, **changed})
    assert found.metric_settings == {"fid": {"resize": "pytorch_fid", "reference": "mine"}}
    with pytest.raises(UsageError, match=r"preset=hypersd: no such protocol.*'hyper_sd'"):
        suite.read("s", {**VALUES, "preset": "hypersd"})


@pytest.mark.parametrize("name", protocols.names())
def test_every_preset_names_metrics_and_settings_that_exist(name: str) -> None:
    for metric, settings in protocols.read(name).metrics.items():
        metrics.network_of(metric, settings, published=True)
    assert suite.read("s", {**VALUES, "preset": name}).n


def test_a_sample_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    tower = Inception(weights=str(tmp_path / "w.pth"))
    y = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
    path = tmp_path / "real.safetensors"
    ReferenceFeatures("real", tower.identity, y).save(path)
    settings = {"weights": str(tmp_path / "w.pth"), "reference": str(path)}
    metric = metrics.metric("kid", settings, published=True)
    assert np.array_equal(metric.reference.features, y)
    assert "reference=real:n=20:" in metric.identity
