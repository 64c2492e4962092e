"""Every metric as a `torchmetrics.Metric`: in training loops, notebooks and several processes.

clip = bench.metric("clip", published=True, device="cuda")
clip.update(images, prompts)  # as often as there are batches
clip.compute(), clip.result().low, clip.result().high
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric as TorchMetric
from torchmetrics.utilities import dim_zero_cat

from bench import metrics
from bench.errors import UsageError
from bench.metrics.base import Extractor, Metric
from bench.metrics.extractor import extractor
from bench.metrics.weights import NotHere
from bench.statistics.metrics import METRICS
from bench.statistics.result import Result


class ImageMetric(TorchMetric):  # type: ignore[misc]
    """A metric over all pictures that `update` was given, as a suite measures it.

    `update(images, prompts, clusters=None)` takes pictures and gathers their features; `compute()`
    gives the value as a float64 scalar, `result()` also its 95 % interval and the score of each
    prompt; `reset()` begins anew. Features stay on the host and are gathered over processes as any
    state of torchmetrics; the network runs on the device that it was made for.

    Prompts are kept as bytes, each closed by a zero, so that torchmetrics can gather them like
    any tensor; `clusters` says which images share a prompt (default: none do).
    """

    is_differentiable = False
    full_state_update = False
    features: list[Tensor]
    texts: list[Tensor]
    clusters: list[Tensor]

    def __init__(self, extractor: Extractor, metric: Metric, **kwargs: Any) -> None:
        """kwargs: of `torchmetrics.Metric`."""
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
        """images: [B, H, W, 3] or [B, 3, H, W], uint8, or floats from 0 to 1; prompts: B texts
        without zero bytes; clusters: B ids >= 0. Raises ValueError for anything else."""
        if any("\0" in prompt for prompt in prompts):
            raise ValueError("a prompt holds a zero byte")
        raw = b"".join(prompt.encode() + b"\0" for prompt in prompts)
        ids = [-1] * len(prompts) if clusters is None else list(clusters)
        found = self.extractor(as_uint8(images), prompts)
        self.features.append(torch.as_tensor(found, device=self.device))
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
        precise = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no more
        return torch.tensor(self.result().value, dtype=precise, device=self.device)


def metric(
    name: str, *, published: bool = False, device: str = "cpu", **settings: str
) -> ImageMetric:
    """The metric of a name (docs/metrics.md), as a suite measures it.

    published: on the networks that papers use, fetched where they are not here yet, instead of the
    world's.  device: where its network runs.  settings: what a suite says under `metrics.<name>`:
    `reference="coco2014_30k"`, `model="ViT-g-14"`. Raises UsageError: no such metric or setting, a
    missing reference, a metric that compares each picture with the teacher's (only a run has both).
    """
    row = METRICS.get(name)
    if row is not None and row.paired:
        raise UsageError(f"metric {name}: holds each picture against the teacher's own, so it is "
                         "measured by a run alone; valid: any other metric")  # fmt: skip
    before = ""
    while True:
        try:
            made = metrics.metric(name, settings, published=published)
            return ImageMetric(extractor(made.extractor, device), made)
        except NotHere as error:
            if str(error) == before:
                raise
            before = str(error)
            error.fetch()


def as_uint8(images: Any) -> Any:
    """Pictures as uint8 [B, H, W, 3], of uint8 or of floats from 0 to 1, channels first or last.

    Raises ValueError for another type, shape or range.
    """
    held = torch.as_tensor(np.ascontiguousarray(images) if isinstance(images, np.ndarray)
                           else images)  # fmt: skip
    said = f"got {held.dtype} {tuple(held.shape)}"
    if held.ndim != 4 or 3 not in (held.shape[1], held.shape[-1]):
        raise ValueError(f"need pictures [B, H, W, 3] or [B, 3, H, W], {said}")
    if held.shape[-1] != 3:
        held = held.permute(0, 2, 3, 1)
    if held.dtype == torch.uint8:
        return held
    if not held.is_floating_point():
        raise ValueError(f"need uint8, or floats from 0 to 1, {said}")
    if held.numel() and (float(held.min()) < 0 or not float(held.max()) <= 1):
        raise ValueError(f"need floats from 0 to 1, {said} from {held.min():g} to {held.max():g}")
    return (held.float() * 255).round().to(torch.uint8)
