"""`aesthetic`: a predicted rating from 1 to 10 of the picture alone, read from CLIP's embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics import weights
from bench.metrics.base import Features, uses_feedback
from bench.metrics.networks.base import Network
from bench.statistics.result import Result, mean_result

Head = Callable[[Features], Any]
_LAION = "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw"
_LAION_V1 = "https://github.com/LAION-AI/aesthetic-predictor/raw"
HEADS = {
    "v2": f"{_LAION}/6934dd81792f086e613a121dbce43082cb8be85e/sac+logos+ava1-l14-linearMSE.pth"
    "#sha256=21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    "v1": f"{_LAION_V1}/6d122adad522ab246644d9dc1c6d7a3810ee255f/sa_0_4_vit_l_14_linear.pth"
    "#sha256=2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
}


@dataclass(frozen=True)
class Aesthetic:
    """head: unit image embeddings [N, D] -> ratings [N].  network: identity of head and CLIP.

    of_feedback: what a method with human feedback saw of it (see `trained_on`).
    """

    head: Head
    network: str
    extractor: str = "shapes_clip"
    of_feedback: str = "labels"

    name: ClassVar[str] = "aesthetic"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;rating 1-10;{self.network}"

    def trained_on(self, method: str) -> str:
        """In the world, methods with feedback are rewarded by another network that learned the same
        ratings; published ones by this very network."""
        return self.of_feedback if uses_feedback(method) else "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: unit image embeddings [N, D]; prompts are not looked at."""
        del prompts
        return mean_result(np.asarray(self.head(features), np.float64), clusters)


def of_the_world(name: str, network: Network, settings: Mapping[str, str]) -> Aesthetic:
    """With the world's head, which is loaded at the first `evaluate`."""
    from hypersd.shapes.weights import weights_sha256

    del name, settings
    checksum = weights_sha256("aesthetic")[:12]
    return Aesthetic(_worlds_head, f"head={checksum};{network.identity}", network.name)


def _worlds_head(features: Features) -> Any:
    import torch

    with torch.inference_mode():
        return _loaded_head()(torch.as_tensor(features)).float().cpu().numpy()


@cache
def _loaded_head() -> Any:
    from hypersd.shapes.evaluators import load_aesthetic

    return load_aesthetic("cpu")


def of_a_head(name: str, network: Network, settings: Mapping[str, str]) -> Aesthetic:
    """With a head that is a chain of linear layers: `head`, "v1" or "v2" of LAION's, or a source.

    Raises UsageError for another kind of head, when it is first used.
    """
    given = settings.get("head", "v2")
    source, what = (HEADS.get(given, given),), f"metric {name!r}: head {given}"
    checksum = weights.sha256(weights.all_here(what, (source, network.sources))[0])[:12]

    def rating(features: Features) -> Any:
        import torch

        from hypersd.rewards import affine
        from hypersd.rewards.tensors import tensors

        path = weights.find(what, source)
        try:
            head = affine.of_layers(tensors(path))
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None
        return head(torch.as_tensor(features)).numpy()

    about = f"head={checksum};{network.identity}"
    return Aesthetic(rating, about, network.name, of_feedback="network")
