"""Random weights of the real shapes."""

from __future__ import annotations

import open_clip
import pytest
import torch

from bench.contestants import random_weights
from hypersd.bases import UNETS

# Parameters of the published checkpoints, as counted in many a paper and model page.
COUNTS = {
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480,
             "text_encoder_2": 694_659_840},
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
}  # fmt: skip


@pytest.mark.parametrize("family", UNETS)
def test_shapes_have_the_published_numbers_of_parameters(family: str) -> None:
    made = UNETS[family].networks()
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in made.items()}
    assert counts == COUNTS[family]


def test_the_vocabulary_is_clips() -> None:
    texts = ["a photo of a cat", "Two dogs, running; 3 cafés!", "x" * 400]
    ours = random_weights._vocabulary()(texts, padding="max_length", truncation=True)["input_ids"]
    theirs = open_clip.get_tokenizer("ViT-B-32")(texts).tolist()
    end = theirs[0].index(0)
    assert ours[0][:end] == theirs[0][:end]
    assert [i for i in theirs[1] if i] == ours[1][: sum(map(bool, theirs[1]))]
    assert ours[2] == theirs[2]


def test_random_weights_keep_the_size_of_activations() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.LayerNorm(256))
    random_weights.fill_randomly(network, "x", torch.float32, torch.device("cpu"))
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    assert abs(float(network[0](x).detach().std()) - 1) < 0.1
    assert float(network[0].bias.detach().abs().max()) == 0
    first = network[0].weight.clone()
    random_weights.fill_randomly(network, "x", torch.float32, torch.device("cpu"))
    assert torch.equal(network[0].weight, first)
