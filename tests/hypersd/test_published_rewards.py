"""Published rewards against their own packages and classes, with gradients; Mask2Former's loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from hypersd import rewards
from hypersd.errors import UsageError
from hypersd.rewards.coco import CocoStructure
from hypersd.rewards.options import RewardOptions
from hypersd.rewards.published import prepared
from hypersd.rewards.structure import load_structure
from tests.hypersd.real_rewards import (
    GOLDEN,
    laion_layers,
    make,
    make_clip,
    make_image_reward,
    make_laion,
    make_segmenter,
    seeded,
)

CPU = torch.device("cpu")


def as_input(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def scored(entry: dict[str, Any], images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    """Scores, after a look at the gradient: there in every picture, and finite."""
    options = RewardOptions(**entry)
    images = images.clone().requires_grad_()
    found = rewards.load_reward(options, CPU)(images, prompts)
    found.sum().backward()
    assert float(images.grad.abs().amax((1, 2, 3)).min()) > 0
    assert bool(images.grad.isfinite().all())
    return found.detach()


@pytest.mark.parametrize("shape", make.SHAPES)
def test_image_reward_is_its_own_packages_score(tmp_path: Path, shape: str) -> None:
    """Up to the 8-bit rounding of the package's resizing."""
    folder = make_image_reward(tmp_path)
    prompts = list(seeded.PROMPTS)
    images = as_input(seeded.pictures(len(prompts), *make.SHAPES[shape]))
    entry = {"kind": "image_reward", "folder": str(folder / "ImageReward.pt"),
             "vocabulary": str(folder / "vocab.txt")}  # fmt: skip
    found = scored(entry, images, prompts)
    assert found.tolist() == pytest.approx(GOLDEN["scores"][shape], abs=2e-2)
    assert max(GOLDEN["scores"][shape]) - min(GOLDEN["scores"][shape]) > 0.1


def test_clip_and_laion_are_transformers_own(tmp_path: Path) -> None:
    folder, prompts = make_clip(tmp_path / "clip"), ["a red bird", "boat on the water"]
    side = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}

    def processed(pictures: np.ndarray) -> Any:
        shown = [Image.fromarray(p) for p in pictures]
        return CLIPImageProcessor(**side)(shown, return_tensors="pt")

    wide = seeded.pictures(2, 64, 96)
    torch.testing.assert_close(
        prepared(as_input(wide), 32), processed(wide).pixel_values, rtol=0, atol=0.04
    )
    pictures, clip = seeded.pictures(2, 32, 32), CLIPModel.from_pretrained(folder)
    tokens = CLIPTokenizer.from_pretrained(folder)(
        prompts, padding=True, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        out = clip(**tokens, **processed(pictures))
        ratings = laion_layers()(out.image_embeds)[:, 0]
        cosines = (out.image_embeds * out.text_embeds).sum(1)
    images = as_input(pictures)
    found = scored({"kind": "clip", "folder": str(folder)}, images, prompts)
    torch.testing.assert_close(found, 100 * cosines, rtol=0, atol=0.02)
    entry = {"kind": "laion", "folder": str(make_laion(tmp_path / "head.pth")), "clip": str(folder)}
    torch.testing.assert_close(scored(entry, images, prompts), ratings, rtol=0, atol=2e-4)


def test_other_files_are_one_line(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip")
    torch.save({"layers.0.weight": torch.ones(1, 3)}, tmp_path / "relu.pth")
    torch.save({"weight": torch.ones(1, 3), "bias": torch.zeros(1)}, tmp_path / "narrow.pth")
    torch.save({"code": Path("x")}, tmp_path / "code.pth")
    bad = {
        "expected a head of linear layers": {"kind": "laion", "folder": "relu.pth"},
        "for embeddings of 3, but .* has 16": {"kind": "laion", "folder": "narrow.pth"},
        "code.pth: ": {"kind": "laion", "folder": "code.pth"},
        "not ImageReward's weights": {"kind": "image_reward", "folder": "narrow.pth"},
        "reward 'no/where'": {"kind": "clip"},
    }
    for says, entry in bad.items():
        place = str(tmp_path / entry["folder"]) if "folder" in entry else "no/where"
        options = RewardOptions(**entry | {"folder": place, "clip": str(clip)})
        with pytest.raises(UsageError, match=says) as caught:
            rewards.load_reward(options, CPU)
        assert "\n" not in str(caught.value)


def test_mask2former_asks_for_what_it_finds_in_the_real_picture(tmp_path: Path) -> None:
    """Its own loss, sample by sample and always at the same points, with a gradient;
    another random state is neither used nor changed."""
    structure = load_structure(str(make_segmenter(tmp_path)), {"folder": "x"}, CPU)
    assert isinstance(structure, CocoStructure)
    real, images = (as_input(seeded.pictures(2, 64, 64, seed)) for seed in (0, 1))
    masks, categories = structure.found(real)[0]
    if not len(categories):
        pytest.skip("with these versions' random weights it finds nothing")
    assert set(categories.tolist()) == {3} and 0 < float(masks.mean()) < 1
    rows = torch.arange(2)
    both = structure.loss(images, lambda: real, rows)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    alone = [structure.loss(images[i : i + 1], lambda i=i: real[i : i + 1], rows) for i in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=1e-4)
    drawn = images.clone().requires_grad_()
    structure.loss(drawn, lambda: real, rows).sum().backward()
    assert float(drawn.grad.abs().amax((1, 2, 3)).min()) > 0
    other = structure._one(images[0], masks, torch.ones_like(categories))
    assert float(other - both[0]) > 5  # this network is sure of category 3


def test_where_nothing_is_found_nothing_is_asked_for(tmp_path: Path) -> None:
    structure = load_structure(str(make_segmenter(tmp_path, sure=False)), {"folder": "x"}, CPU)
    image = as_input(seeded.pictures(1, 64, 64)).requires_grad_()
    loss = structure.loss(image, lambda: image.detach(), torch.arange(1))
    loss.sum().backward()
    assert loss.tolist() == [0.0] and not image.grad.any()


def test_a_damaged_segmenter_and_the_worlds_on_real_pictures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="segmenter"):
        load_structure(str(tmp_path), {"folder": "x"}, CPU)
    with pytest.raises(UsageError, match="not trained on real pictures"):
        load_structure(str(tmp_path / "none"), {"folder": "x"}, CPU)
