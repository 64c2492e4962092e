"""The aesthetic head: a CLIP picture embedding -> a rating from 1 to 10, as LAION's predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AestheticHead(nn.Module):
    """[B, D] L2-normalised picture embeddings -> [B] ratings."""

    def __init__(self, inputs: int = 128, hidden: int = 128) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        hidden = F.gelu(self.first(embedding * embedding.shape[1] ** 0.5))
        rating: Tensor = 5.5 + self.last(hidden)[:, 0]
        return rating

    @torch.no_grad()
    def fold(self, mean: Tensor, deviation: Tensor) -> None:
        """Take a standardisation of the embeddings, both [D], into the first layer."""
        self.first.weight.div_(deviation)
        self.first.bias.sub_(self.first.weight @ (mean * len(mean) ** 0.5))
