"""HPSv2 and ImageReward against values of their own packages (goldens/make.py says how made)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from bench.errors import UsageError
from bench.metrics.networks.base import loaded
from bench.metrics.networks.clip import OpenClip
from bench.metrics.networks.image_reward import ImageReward
from bench.statistics.metrics import METRICS
from tests.conformance import seeded
from tests.conformance.goldens import make

GOLDENS = Path(__file__).parent / "goldens"


def golden(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text())[name]


def batches() -> dict[str, torch.Tensor]:
    count = len(seeded.PROMPTS)
    return {n: torch.tensor(seeded.pictures(count, *s)) for n, s in make.SHAPES.items()}


@pytest.fixture(scope="module")
def hps(tmp_path_factory: pytest.TempPathFactory) -> OpenClip:
    folder = tmp_path_factory.mktemp("hps")
    (folder / "tiny-hps.json").write_text(json.dumps(make.HPS_CONFIG))
    open_clip.add_model_config(folder)
    path = folder / "HPS_v2.1_compressed.safetensors"
    save_file(seeded.state(open_clip.CLIP(**make.HPS_CONFIG).state_dict()), path)
    return OpenClip("tiny-hps", str(path), resize="longest")


def test_hps_is_hpsv2s_own_score(hps: OpenClip) -> None:
    network = loaded(hps)
    read = network.embedded(list(seeded.PROMPTS))
    for shape, images in batches().items():
        with torch.inference_mode():
            seen = network(images, []).numpy()
        cosines = np.einsum("nd,nd->n", seen, read)
        assert cosines == pytest.approx(golden("hps")[shape], abs=2e-5)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_hpsv2_in_half_precision_differs_by_rounding(
    hps: OpenClip, dtype: torch.dtype, most: float
) -> None:
    """hpsv2 scores under autocast on a GPU; ours in fp32. The same network under autocast is off
    from hpsv2's own fp32 values by so much of a cosine, and not more."""
    model = loaded(hps).model
    ids = loaded(hps).tokenizer(list(seeded.PROMPTS))
    for shape, images in batches().items():
        with torch.inference_mode(), torch.autocast("cpu", dtype):
            seen = model.encode_image(loaded(hps).prepared(images), normalize=True)
            read = model.encode_text(ids, normalize=True)
            cosines = (seen * read).sum(dim=-1).float().numpy()
        gap = np.abs(cosines - golden("hps")[shape]).max()
        assert 0 < gap < most


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.05), ("bf16", 0.5)])
def test_hps_in_half_precision_is_the_golden_but_for_a_part_of_the_margin(
    hps: OpenClip, precision: str, most: float
) -> None:
    """Its own weights and activations, as on a GPU: the mean over pictures, in printed points."""
    network = loaded(replace(hps, precision=precision))
    read = network.embedded(list(seeded.PROMPTS))
    for shape, images in batches().items():
        with torch.inference_mode():
            seen = network(images, []).numpy()
        moved = 100 * np.abs((seen * read).sum(axis=-1).mean() - np.mean(golden("hps")[shape]))
        assert 0 < moved < most * cast(float, METRICS["hps"].margin)


@pytest.fixture(scope="module")
def image_reward(tmp_path_factory: pytest.TempPathFactory) -> ImageReward:
    folder = tmp_path_factory.mktemp("image_reward")
    shapes = golden("image_reward")["shapes"]
    state = {name: torch.tensor(seeded.array(name, tuple(shape)))
             for name, shape in shapes.items() if not name.endswith("position_ids")}  # fmt: skip
    torch.save(state, folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(make.WORDS), encoding="utf-8")
    return ImageReward(str(folder / "ImageReward.pt"), str(folder / "vocab.txt"))


def test_image_reward_is_its_own_packages_score(image_reward: ImageReward) -> None:
    network, prompts = loaded(image_reward), list(seeded.PROMPTS)
    for shape, images in batches().items():
        with torch.inference_mode():
            scores = network(images, prompts)[:, 0].numpy()
        # 8-bit resizing breaks some ties otherwise than Pillow: a level in a few pixels.
        assert scores == pytest.approx(golden("image_reward")["scores"][shape], abs=2e-3)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 3e-3), ("bf16", 2e-2)])
def test_image_reward_in_half_precision_is_the_golden_but_for_rounding(
    image_reward: ImageReward, precision: str, most: float
) -> None:
    """The score spreads by about 1 over pictures: so much of a mean is a hundredth of that."""
    network, prompts = loaded(replace(image_reward, precision=precision)), list(seeded.PROMPTS)
    for images in batches().values():
        with torch.inference_mode():
            plain = loaded(image_reward)(images, prompts)
            scores = network(images, prompts)
        assert scores.dtype == torch.float32 and 0 < (scores - plain).abs().mean() < most


def test_image_reward_cuts_prompts_at_35_tokens(image_reward: ImageReward) -> None:
    network = loaded(image_reward)
    texts = ["a " * 33, "a " * 34]
    assert network.cut(texts) == [False, True]
    images = torch.tensor(seeded.pictures(1, 40, 40)).repeat(2, 1, 1, 1)
    with torch.inference_mode():
        scores = network(images, ["a " * 33 + "green", "a " * 33 + "dog"])
    assert torch.allclose(scores[0], scores[1], atol=1e-5)


def test_other_weights_are_one_line(image_reward: ImageReward, tmp_path: Path) -> None:
    state = dict(torch.load(image_reward.weights, weights_only=True))
    del state["blip.visual_encoder.blocks.1.norm1.weight"]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"other\.pt: not ImageReward's weights \(missing"):
        loaded(ImageReward(str(tmp_path / "other.pt"), image_reward.vocabulary))


def test_a_pickle_that_holds_more_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "code": Path("x")}, tmp_path / "bad.pt")
    with pytest.raises(UsageError, match=r"bad\.pt: holds more than tensors"):
        loaded(ImageReward(str(tmp_path / "bad.pt"), "vocab.txt"))
