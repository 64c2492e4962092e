"""How well a picture fits its prompt: `clip`, `hps`, `pick`, and the world's `image_reward`.

A multiple of the cosine between the two embeddings of a CLIP: trained on captions, or tuned on
pairs judged by people, as HPSv2 (Wu et al. 2023, arXiv 2306.09341) and PickScore (Kirstain et al.
2023, arXiv 2305.01569). `clip` is the score of Hessel et al. 2021 without the prefix and the factor
2.5, as few-step papers report it; negative values are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from bench.metrics.base import Features, uses_feedback
from bench.metrics.networks.base import Network, TextNetwork
from bench.statistics.result import Result, mean_result

Encode = Callable[[list[str]], Any]


@dataclass(frozen=True)
class CosineScore:
    """unit * cos(image, text) in one CLIP model.

    network: the extractor's identity.  encode: texts -> unit embeddings [B, D] (array or tensor).
    prefix: put before every prompt.  is_reward: feedback learning is rewarded by this network.
    too_long: says of texts whether the network cuts them.
    """

    name: str
    network: str
    extractor: str
    encode: Encode
    unit: float = 100.0
    prefix: str = ""
    is_reward: bool = False
    too_long: Callable[[list[str]], list[bool]] | None = field(default=None, compare=False)
    _texts: dict[str, Features] = field(default_factory=dict, repr=False, compare=False)

    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        before = f"prefix={self.prefix!r};" if self.prefix else ""
        return f"{self.name}/1;{self.unit:g}*cos;{before}{self.network}"

    def trained_on(self, method: str) -> str:
        """Methods with feedback were rewarded by a network that `is_reward`; nothing else was."""
        return "network" if self.is_reward and uses_feedback(method) else "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: unit image embeddings [N, D]; every prompt is embedded once per process."""
        texts = self._embedded(prompts)
        images = np.asarray(features, np.float64)
        return mean_result(self.unit * np.einsum("nd,nd->n", images, texts), clusters)

    def truncated(self, prompts: Sequence[str]) -> list[bool] | None:
        """Whether the network cuts each prompt; None if unknown."""
        if self.too_long is None:
            return None
        return self.too_long([self.prefix + prompt for prompt in prompts])

    def _embedded(self, prompts: Sequence[str]) -> Features:
        new = [text for text in dict.fromkeys(prompts) if text not in self._texts]
        for start in range(0, len(new), 256):
            chunk = new[start : start + 256]
            rows = np.asarray(self.encode([self.prefix + text for text in chunk]), np.float32)
            self._texts.update(zip(chunk, rows, strict=True))
        return np.stack([self._texts[text] for text in prompts])


def score(
    name: str, network: Network, settings: Mapping[str, str], *, is_reward: bool = False
) -> CosineScore:
    """The score of a network that embeds texts."""
    assert isinstance(network, TextNetwork), f"{name}: {network.kind} embeds no texts"
    return CosineScore(
        name=name,
        network=network.identity,
        extractor=network.name,
        encode=network.embedded,
        unit=network.unit,
        prefix=settings.get("prefix", ""),
        is_reward=is_reward,
        too_long=network.cut,
    )


def reward(name: str, network: Network, settings: Mapping[str, str]) -> CosineScore:
    """The same of a network that feedback learning is rewarded by."""
    return score(name, network, settings, is_reward=True)
