"""Metrics on published networks, by name and settings: what suites on SD1.5 and SDXL are judged by.

A suite may set, per metric, what papers differ in:

    metrics:
      clip: {model: ViT-g-14, weights: laion2b_s12b_b42k, prefix: "A photo depicts "}
      hps: {version: v2.0}
      fid: {resize: pytorch_fid, reference: val2014.npz}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from bench.errors import UsageError, nearest
from bench.metrics import samples, weights
from bench.metrics.aesthetic import Aesthetic
from bench.metrics.base import Metric
from bench.metrics.clip import ClipScore, CosineScore
from bench.metrics.diversity import Diversity
from bench.metrics.frechet import (
    DinoFrechetDistance,
    FrechetDistance,
    InfiniteFrechetDistance,
    PatchFrechetDistance,
    TeacherFrechetDistance,
)
from bench.metrics.hps import Hps, PickScore
from bench.metrics.image_reward import ImageRewardScore
from bench.metrics.manifold import Precision, Recall
from bench.metrics.mmd import ClipDiscrepancy, KernelInceptionDistance
from bench.metrics.networks import affine
from bench.metrics.networks.base import Tower, loaded
from bench.metrics.networks.clip import OpenClip
from bench.metrics.networks.dinov2 import Dinov2
from bench.metrics.networks.image_reward import ImageReward
from bench.metrics.networks.inception import Inception
from bench.metrics.networks.lpips import Lpips
from bench.metrics.networks.pick import Pick
from bench.metrics.networks.shapes_perceptual import ShapesPerceptual
from bench.metrics.perceptual import TeacherDistance
from bench.metrics.samples import Sample

Given = Mapping[str, str]
Score = TypeVar("Score", bound=CosineScore)

REAL, TEACHER = "coco2014_5k", "teacher"  # references where a suite names none
_LAION = "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw"
_LAION_V1 = "https://github.com/LAION-AI/aesthetic-predictor/raw"
HEADS = {
    "v2": f"{_LAION}/6934dd81792f086e613a121dbce43082cb8be85e/sac+logos+ava1-l14-linearMSE.pth"
    "#sha256=21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    "v1": f"{_LAION_V1}/6d122adad522ab246644d9dc1c6d7a3810ee255f/sa_0_4_vit_l_14_linear.pth"
    "#sha256=2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
}
HPS = {
    "v2.0": "hf://xswu/HPSv2/HPS_v2_compressed.pt",
    "v2.1": "hf://xswu/HPSv2/HPS_v2.1_compressed.pt",
}


def _cosine(kind: type[Score], tower: Tower, prefix: str = "") -> Score:
    """A score of a tower that embeds texts as well, where the pictures' side is loaded."""
    return kind(
        encode=lambda texts: loaded(tower).embedded(texts),
        network=tower.identity,
        extractor=tower.name,
        prefix=prefix,
        too_long=lambda texts: loaded(tower).cut(texts),
    )


def _clip(given: Given) -> ClipScore:
    return _cosine(ClipScore, OpenClip(**_only(given, TOWER)), given.get("prefix", ""))


def _hps(given: Given) -> Hps:
    version = given.get("version", "v2.1")
    if version not in HPS:
        raise UsageError(f"metrics.hps.version={version}; {nearest(version, HPS)}")
    source = given.get("weights", HPS[version])
    model = given.get("model", "ViT-H-14")
    return _cosine(Hps, OpenClip(model, source, given.get("resize", "longest")))


def _pick(given: Given) -> PickScore:
    return _cosine(PickScore, Pick(**given))


def _aesthetic(given: Given) -> Aesthetic:
    tower = OpenClip(given.get("model", "ViT-L-14"), given.get("weights", "openai"))
    head = given.get("head", "v2")
    source, what = (HEADS.get(head, head),), f"metric 'aesthetic': head {head}"
    checksum = weights.sha256(weights.all_here(what, (source, tower.sources))[0])[:12]

    def rating(features: Any) -> Any:
        path = weights.find(what, source)
        return affine.of_layers(weights.tensors(path), path)(features).numpy()

    return Aesthetic(rating, f"head={checksum};{tower.identity}", tower.name, "network")


def _image_reward(given: Given) -> ImageRewardScore:
    tower = ImageReward(**given)
    return ImageRewardScore(tower.identity, tower.name, lambda texts: loaded(tower).cut(texts))


def tower_of(name: str, given: Given) -> Tower:
    """The network under a distance between sets of images, by metric and settings."""
    settings = _only(given, TOWER)
    if name == "fd_dinov2":
        return Dinov2(**settings)
    if name == "cmmd":
        return OpenClip(**{"model": "ViT-L-14-336", **settings})
    return Inception(**{"resize": "patch" if name == "fid_patch" else "clean", **settings})


def _frechet(kind: type[FrechetDistance]) -> Callable[[Given], FrechetDistance]:
    def make(given: Given) -> FrechetDistance:
        tower = tower_of(kind.name, given)
        reference = given.get("reference", TEACHER if kind.against == "teacher" else REAL)
        return kind(samples.statistics(kind.name, reference, tower), tower.name)

    return make


def _sample(name: str, given: Given) -> tuple[Sample, str]:
    """The reference features of a metric, and the extractor that it shares with them."""
    tower = tower_of(name, given)
    return samples.read(name, given.get("reference", REAL), tower), tower.name


def _kid(given: Given) -> KernelInceptionDistance:
    return KernelInceptionDistance(*_sample("kid", given))


def _cmmd(given: Given) -> ClipDiscrepancy:
    return ClipDiscrepancy(
        *_sample("cmmd", given), biased=_flag("cmmd.biased", given.get("biased"))
    )


def _precision(given: Given) -> Precision:
    return Precision(*_sample("precision", given), _count("precision.k", given.get("k", "3")))


def _recall(given: Given) -> Recall:
    return Recall(*_sample("recall", given), _count("recall.k", given.get("k", "3")))


def _diversity(given: Given) -> Diversity:
    tower = Dinov2(**given)
    return Diversity(tower.identity, tower.name)


def _lpips(given: Given) -> TeacherDistance:
    return TeacherDistance.of(Lpips(**given))


class Maker(NamedTuple):
    """How a metric is made of its settings, and which it has."""

    make: Callable[[Given], Metric]
    keys: tuple[str, ...]


TOWER = ("model", "weights", "resize")
_INCEPTION = ("resize", "weights", "reference")
MAKERS: dict[str, Maker] = {
    "fid": Maker(_frechet(FrechetDistance), _INCEPTION),
    "fid_inf": Maker(_frechet(InfiniteFrechetDistance), _INCEPTION),
    "fid_teacher": Maker(_frechet(TeacherFrechetDistance), _INCEPTION),
    "fid_patch": Maker(_frechet(PatchFrechetDistance), _INCEPTION),
    "kid": Maker(_kid, _INCEPTION),
    "cmmd": Maker(_cmmd, (*TOWER, "reference", "biased")),
    "fd_dinov2": Maker(_frechet(DinoFrechetDistance), ("weights", "reference")),
    "precision": Maker(_precision, (*_INCEPTION, "k")),
    "recall": Maker(_recall, (*_INCEPTION, "k")),
    "clip": Maker(_clip, (*TOWER, "prefix")),
    "aesthetic": Maker(_aesthetic, ("head", "model", "weights")),
    "hps": Maker(_hps, ("version", *TOWER)),
    "image_reward": Maker(_image_reward, ("weights", "vocabulary")),
    "pick": Maker(_pick, ("weights",)),
    "diversity": Maker(_diversity, ("weights",)),
    "lpips_teacher": Maker(_lpips, ("net", "weights", "against")),
}
KINDS: dict[str, type[Tower]] = {
    kind.kind: kind
    for kind in (OpenClip, Inception, ImageReward, Pick, Dinov2, Lpips, ShapesPerceptual)
}


def make(name: str, settings: Given) -> Metric:
    """The metric of a name on published networks.

    Raises UsageError: unknown metric or setting, missing weights or reference (`hub.NotFetched`
    for weights that a run would fetch first).
    """
    if name not in MAKERS:
        raise UsageError(f"no metric {name!r} on published networks; {nearest(name, MAKERS)}")
    maker = MAKERS[name]
    for key in settings:
        if key not in maker.keys:
            raise UsageError(f"metrics.{name}: no setting {key!r}; {nearest(key, maker.keys)}")
    return maker.make(settings)


def _only(given: Given, keys: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in given.items() if key in keys}


def _flag(where: str, value: str | None) -> bool:
    if value is not None and value.lower() not in ("true", "false"):
        raise UsageError(f"metrics.{where}={value}: must be true or false")
    return value is not None and value.lower() == "true"


def _count(where: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"metrics.{where}={value}: must be a whole number >= 1")
    return int(value)
