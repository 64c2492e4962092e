"""Networks that judge images: one file per family, by kind. None is loaded by being named."""

from __future__ import annotations

from urllib.parse import parse_qsl

from bench.errors import UsageError, nearest
from bench.metrics.networks import world
from bench.metrics.networks.base import Network
from bench.metrics.networks.clip import OpenClip
from bench.metrics.networks.dinov2 import Dinov2
from bench.metrics.networks.hpsv3 import Hpsv3
from bench.metrics.networks.image_reward import ImageReward
from bench.metrics.networks.inception import Inception
from bench.metrics.networks.judge import AtomJudge, Judge
from bench.metrics.networks.lpips import Lpips
from bench.metrics.networks.lpips_sketch import LpipsSketch
from bench.metrics.networks.pick import Pick

NETWORKS: dict[str, type[Network]] = {
    network.kind: network
    for network in (
        world.ShapesClip,
        world.ShapesHps,
        world.ShapesImageReward,
        world.ShapesPick,
        world.ShapesFeatures,
        world.ShapesOracle,
        world.ShapesPerceptual,
        OpenClip,
        Inception,
        ImageReward,
        Pick,
        Dinov2,
        Lpips,
        LpipsSketch,
        Judge,
        AtomJudge,
        Hpsv3,
    )
}


def by_name(name: str) -> Network:
    """The network of an extractor's name, `kind` or `kind?setting=value&...`.

    Raises UsageError for an unknown kind.
    """
    kind, _, settings = name.partition("?")
    if kind not in NETWORKS:
        raise UsageError(f"no feature extractor {name!r}; {nearest(kind, NETWORKS)}")
    return NETWORKS[kind](**dict(parse_qsl(settings)))
