"""Any extractor and metric as a `torchmetrics.Metric`: for training loops and several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric as TorchMetric
from torchmetrics.utilities import dim_zero_cat

from bench.metrics.base import Extractor, Metric
from bench.statistics.result import Result


class ImageMetric(TorchMetric):  # type: ignore[misc]
    """Features are gathered by `update`; `compute` gives the value over all of them.

    Prompts are kept as bytes, each closed by a zero, so that torchmetrics can gather them like
    any tensor; `clusters` says which images share a prompt (default: none do).
    """

    is_differentiable = False
    full_state_update = False
    features: list[Tensor]
    texts: list[Tensor]
    clusters: list[Tensor]

    def __init__(self, extractor: Extractor, metric: Metric, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extractor, self.metric = extractor, metric
        for state in ("features", "texts", "clusters"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:
        """As the metric says; torchmetrics has one constant per class."""
        return self.metric.higher_is_better

    def update(
        self, images: Any, prompts: Sequence[str], clusters: Sequence[int] | None = None
    ) -> None:
        """images: uint8 [B, H, W, 3]; prompts: B texts without zero bytes; clusters: B ids >= 0."""
        if any("\0" in prompt for prompt in prompts):
            raise ValueError("a prompt holds a zero byte")
        raw = b"".join(prompt.encode() + b"\0" for prompt in prompts)
        ids = [-1] * len(prompts) if clusters is None else list(clusters)
        self.features.append(torch.as_tensor(self.extractor(images, prompts), device=self.device))
        self.texts.append(torch.tensor(list(raw), dtype=torch.uint8, device=self.device))
        self.clusters.append(torch.tensor(ids, dtype=torch.int64, device=self.device))

    def result(self) -> Result:
        """Value, interval and per-prompt scores of what this process holds."""
        features = dim_zero_cat(self.features).cpu().numpy()
        raw = bytes(dim_zero_cat(self.texts).cpu().tolist())
        ids = dim_zero_cat(self.clusters).cpu()
        if bool((ids < 0).any()):
            ids = torch.arange(len(ids))
        return self.metric.evaluate(features, raw.decode().split("\0")[:-1], ids.tolist())

    def compute(self) -> Tensor:
        """The value as a float64 scalar."""
        return torch.tensor(self.result().value, dtype=torch.float64, device=self.device)
