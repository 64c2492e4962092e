"""The metrics, one row each: what it is called and asks, its margin, and what makes it.

Suites, comparisons and pages read the rows, so they are below all of these and name modules of
`bench.metrics` as text: nothing is imported until `bench.metrics.metric` makes one. Where a page
must choose between metrics, it takes the first of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypedDict

_M, _N = "bench.metrics", "bench.metrics.networks"


class Maker(NamedTuple):
    """How a metric is made on one family of networks.

    make: "module:function" of (name, network, settings), returns a `bench.metrics.base.Metric`.
    network: "module:callable" that returns a `bench.metrics.networks.base.Network`; its parameters
    are settings that a suite may give the metric.  keys: the settings that `make` reads.
    """

    make: str
    network: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricSpec:
    """The facts of a metric before it is made; whether more is better is a field of the metric.

    title, asks: for people.  margin: the smallest difference that matters, in the metric's unit or
    as a percentage, where a suite says nothing.  world, published: how it is made for the shapes
    world and for SD1.5 and SDXL; None: not for these.  paired: compares each image with the
    teacher's.  of_repeats: compares the images of a prompt, which a suite's `repeats` draw.
    of_teacher: a share of the teacher's own value.  enough: from where on more is not better, as no
    table and no sentence then says it is.  least_seeds: of a prompt, below which a suite is
    refused.  against_time: plotted against seconds per image.
    """

    title: str
    asks: str
    margin: float | str = "2%"
    world: Maker | None = None
    published: Maker | None = None
    paired: bool = False
    of_repeats: bool = False
    of_teacher: bool = False
    enough: float | None = None
    least_seeds: int = 1
    against_time: bool = False


class _Makers(TypedDict):
    world: Maker
    published: Maker


def _both(make: str, world: str, published: str, *keys: str) -> _Makers:
    """The same function for both families; `keys` on published networks alone."""
    made = f"{_M}.{make}"
    return {
        "world": Maker(made, f"{_N}.world:{world}"),
        "published": Maker(made, f"{_N}.{published}", keys),
    }


def _to_reference(make: str, published: str, *keys: str) -> Maker:
    return Maker(f"{_M}.{make}", f"{_N}.{published}", ("reference", *keys))


def _to_world(make: str, *keys: str) -> Maker:
    return _to_reference(make, "world:ShapesFeatures", "split", *keys)


def _frechet(make: str) -> _Makers:
    return {
        "world": _to_world(f"frechet:{make}"),
        "published": _to_reference(f"frechet:{make}", "inception:Inception"),
    }


_SHARE = f"{_M}.diversity_share:share"
_OF_DINOV2 = Maker(_SHARE, f"{_N}.dinov2:Dinov2", keys=("against",))
_OF_LPIPS = Maker(_SHARE, f"{_N}.lpips_sketch:LpipsSketch", keys=("against",))
_OF_WORLD = Maker(_SHARE, f"{_N}.world:ShapesFeatures", keys=("against",))


def _share_of_teacher(
    title: str, spread: str, published: Maker = _OF_DINOV2, world: Maker | None = _OF_WORLD
) -> MetricSpec:
    return MetricSpec(
        title,
        f"What share of the teacher's {spread} is left, in %? Above 100 is not better.",
        margin=5.0,
        world=world,
        published=published,
        of_repeats=True,
        of_teacher=True,
        enough=100.0,
        least_seeds=4,
    )


def _skill(title: str, asks: str) -> MetricSpec:
    return MetricSpec(
        title,
        asks,
        margin=0.02,
        world=Maker(f"{_M}.skills:of_the_world", f"{_N}.world:ShapesOracle"),
        published=Maker(f"{_M}.skills:of_judge", f"{_N}.judge:AtomJudge"),
    )


_SKILLS = {
    "skills": _skill("Skills", "Is everything that a prompt asks for there? Geometric by prompt."),
    "skills_atoms": _skill("Atoms", "How much of what prompts ask for is there?"),
    "skill_object": _skill("Objects", "Are the things that are asked for there?"),
    "skill_count": _skill("Count", "Are there as many as asked for?"),
    "skill_colour": _skill("Colour", "Do things have the colours asked for?"),
    "skill_position": _skill("Position", "Do things lie as asked for?"),
    "skill_attribution": _skill("Attribution", "Has each of several things its own colour?"),
}

METRICS: dict[str, MetricSpec] = {
    "fid": MetricSpec(
        "FID",
        "How far is the set of images from real images?",
        margin="10%",
        **_frechet("to_real"),
        against_time=True,
    ),
    "fid_inf": MetricSpec(
        "FID at infinity",
        "How far would infinitely many images be from real images?",
        margin="10%",
        **_frechet("to_real_at_infinity"),
    ),
    "fid_teacher": MetricSpec(
        "FID to teacher",
        "How far is it from the teacher's own images?",
        margin="20%",
        **_frechet("to_teacher"),
    ),
    "fid_patch": MetricSpec(
        "Patch FID",
        "How far is fine detail, in the middle 299 pixels, from that of real images?",
        published=_to_reference("frechet:to_real", "inception:patches"),
    ),
    "kid": MetricSpec(
        "KID",
        "How far is the set of images from real images, at any number of them? In thousandths.",
        world=_to_world("mmd:kid"),
        published=_to_reference("mmd:kid", "inception:Inception"),
    ),
    "cmmd": MetricSpec(
        "CMMD",
        "How far is the set of images from real images, as CLIP sees them? In thousandths.",
        published=_to_reference("mmd:cmmd", "clip:vit_l_336", "biased"),
    ),
    "fd_dinov2": MetricSpec(
        "FD DINOv2",
        "How far is the set of images from real images, as DINOv2 sees them?",
        published=_to_reference("frechet:to_real", "dinov2:Dinov2"),
    ),
    "precision": MetricSpec(
        "Precision",
        "What share of the images could be real ones?",
        world=_to_world("manifold:precision", "k"),
        published=_to_reference("manifold:precision", "inception:Inception", "k"),
    ),
    "recall": MetricSpec(
        "Recall",
        "What share of real images could be among these?",
        world=_to_world("manifold:recall", "k"),
        published=_to_reference("manifold:recall", "inception:Inception", "k"),
    ),
    "hps": MetricSpec(
        "HPS",
        "Which image of a prompt would people choose? 100 times a cosine.",
        margin=0.5,
        **_both("cosine:score", "ShapesHps", "clip:hpsv2"),
        against_time=True,
    ),
    "hpsv3": MetricSpec(
        "HPSv3",
        "Which image of a prompt would people choose, of all kinds of images? From 0 to about 15.",
        margin=0.2,
        published=Maker(f"{_M}.hpsv3:score", f"{_N}.hpsv3:Hpsv3"),
    ),
    "image_reward": MetricSpec(
        "ImageReward",
        "Which image would its raters choose?",
        world=Maker(f"{_M}.cosine:reward", f"{_N}.world:ShapesImageReward"),
        published=Maker(f"{_M}.image_reward:score", f"{_N}.image_reward:ImageReward"),
    ),
    "pick": MetricSpec(
        "PickScore",
        "Which image would its raters choose?",
        **_both("cosine:score", "ShapesPick", "pick:Pick"),
    ),
    "clip": MetricSpec(
        "CLIP",
        "Does the image fit its prompt? 100 times a cosine.",
        margin=1.0,
        **_both("cosine:score", "ShapesClip", "clip:OpenClip", "prefix"),
    ),
    "faithful": MetricSpec(
        "Faithful",
        "In what share of images is everything asked for right?",
        margin=0.02,
        world=Maker(f"{_M}.faithful:share", f"{_N}.world:ShapesOracle"),
        against_time=True,
    ),
    "vqa": MetricSpec(
        "VQA",
        "How sure is a vision-language model that the image shows its prompt? From 0 to 1.",
        margin=0.02,
        published=Maker(f"{_M}.vqa:score", f"{_N}.judge:Judge"),
    ),
    **_SKILLS,
    "aesthetic": MetricSpec(
        "Aesthetic",
        "How would people rate the image alone, from 1 to 10?",
        margin=0.05,
        world=Maker(f"{_M}.aesthetic:of_the_world", f"{_N}.world:ShapesClip"),
        published=Maker(f"{_M}.aesthetic:of_a_head", f"{_N}.clip:vit_l", ("head",)),
    ),
    "diversity": MetricSpec(
        "Diversity",
        "How much do a prompt's images differ by seed?",
        **_both("diversity:between_seeds", "ShapesFeatures", "dinov2:Dinov2"),
        of_repeats=True,
    ),
    "diversity_share": _share_of_teacher("Diversity left", "spread over seeds"),
    "vendi_share": _share_of_teacher("Vendi left", "number of different images of a prompt"),
    "lpips_share": _share_of_teacher(
        "LPIPS left", "LPIPS between seeds", published=_OF_LPIPS, world=None
    ),
    "lpips_teacher": MetricSpec(
        "LPIPS to teacher",
        "How unlike the teacher's picture is it?",
        published=Maker(f"{_M}.perceptual:to_teacher", f"{_N}.lpips:Lpips"),
        paired=True,
    ),
    "perceptual_teacher": MetricSpec(
        "Distance to teacher",
        "How unlike the teacher's picture is it?",
        world=Maker(f"{_M}.perceptual:to_teacher", f"{_N}.world:ShapesPerceptual"),
        paired=True,
    ),
}


def measured_on(*, published: bool) -> list[str]:
    """The metrics of the shapes world, or those of SD1.5 and SDXL."""
    makers = ((name, row.published if published else row.world) for name, row in METRICS.items())
    return [name for name, maker in makers if maker is not None]


def spec(name: str) -> MetricSpec:
    """The row of a metric; its name is the title where it has no row in this checkout."""
    return METRICS.get(name, MetricSpec(name, ""))
