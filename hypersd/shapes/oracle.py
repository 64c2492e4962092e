"""The attribute oracle: is each thing of the prompt there, with its colour, shape, size, relation?

A detector with one centre map per size (so a small thing inside a large one has a cell of its
own). It is never used in training: it says what a table reports as `faithful`, GenEval's idea
(Ghosh et al. 2023, arXiv 2310.11513).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.pictures import to_unit
from hypersd.shapes import captions, nets
from hypersd.shapes.scenes import COLOURS, SHAPES, SIZES, Spec, Thing

COLUMNS = ("right", "shape", "colour", "size", "relation", "count")
STRIDE = 4  # pixels a cell spans
PER_SIZE = 1 + len(SHAPES) + len(COLOURS) + 2 + 1  # centre, shape, colour, offset, covered
SURE = 0.65  # of a centre; chosen on validation renders
ENDS = (len(SHAPES), len(SHAPES) + len(COLOURS))  # of the shape and colour channels


@dataclass(frozen=True)
class FoundThing:
    """A detected thing: attributes, centre in pixels, how sure, how likely it is partly hidden."""

    thing: Thing
    x: float
    y: float
    score: float
    covered: float


class OracleNet(nn.Module):
    """[B, 3, 64, 64] in [-1, 1] -> [B, 3 sizes, PER_SIZE, 16, 16]."""

    def __init__(self, width: int = 56) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nets.down(3, width // 2, 5),
            nets.Residual(width // 2),
            nets.down(width // 2, width),
            *(nets.Residual(width, dilation) for dilation in (1, 2, 4, 1)),
        )
        self.head = nn.Conv2d(width, len(SIZES) * PER_SIZE, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.head(self.body(x))
        return maps.view(len(x), len(SIZES), PER_SIZE, *maps.shape[2:])


class Oracle:
    """The trained detector and the rules that turn what it finds into a verdict."""

    def __init__(self, net: OracleNet, device: torch.device | str = "cpu") -> None:
        self.net, self.device = net.to(device).eval(), device

    @torch.no_grad()
    def find(self, images: Any) -> list[list[FoundThing]]:
        """The things in each picture; images: uint8 [B, 64, 64, 3]."""
        maps = self.net(to_unit(images, self.device)).cpu()
        return [_peaks(picture) for picture in maps]

    def judge(self, images: Any, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Verdicts [B, 6] in the order of COLUMNS: 1 right, 0 wrong, nan where not said.

        A text outside the captions' grammar gives a row of nan.
        """
        found = self.find(images)
        rows = [verdict(f, captions.parse(p)) for f, p in zip(found, prompts, strict=True)]
        return np.asarray(rows, dtype=np.float32).reshape(-1, len(COLUMNS))


def verdict(found: Sequence[FoundThing], spec: Spec | None) -> list[float]:
    """One picture's row: every attribute compared as a multiset, the relation by geometry."""
    if spec is None:
        return [math.nan] * len(COLUMNS)
    row = {"count": float(len(found) == len(spec.things))}
    for name in ("shape", "colour", "size"):
        said = Counter(getattr(thing, name) for thing in spec.things)
        row[name] = float(said == Counter(getattr(f.thing, name) for f in found))
    row["relation"] = math.nan if spec.relation is None else float(_related(found, spec))
    bound = Counter(spec.things) == Counter(f.thing for f in found)
    row["right"] = float(bound and row["relation"] != 0.0)
    return [row[name] for name in COLUMNS]


def _related(found: Sequence[FoundThing], spec: Spec) -> bool:
    """Whether two found things, matched to the spec by shape and colour, have its relation."""
    pair = []
    for thing in spec.things:
        same = [f for f in found if (f.thing.shape, f.thing.colour) == (thing.shape, thing.colour)]
        if len(same) != 1:
            return False
        pair.append(same[0])
    return relation_between(pair[0], pair[1]) == spec.relation


def relation_between(a: FoundThing, b: FoundThing) -> str:
    """The relation of a to b; thresholds are midway between the distances that `scenes` draws.

    Of two things that touch, a is behind where it is seen to be covered. Where nothing is (of the
    scenes "in front of" one in twelve hides no pixel) the picture does not contradict the prompt.
    """
    dx, dy = a.x - b.x, a.y - b.y
    reach = SIZES[a.thing.size] + SIZES[b.thing.size]
    far = math.hypot(dx, dy) / reach
    if far < 0.35 and SIZES[a.thing.size] < SIZES[b.thing.size]:
        return "inside"
    if far < 0.95:
        return "behind" if a.covered > max(b.covered, 0.5) else "in front of"
    if abs(dx) > abs(dy):
        return "right of" if dx > 0 else "left of"
    return "below" if dy > 0 else "above"


def _peaks(maps: Tensor) -> list[FoundThing]:
    """Local maxima whose 3x3 cells together are sure; of one thing seen at two sizes the surer.

    A centre on the edge of two cells shares its probability between them, so cells are summed.
    """
    heat = maps[:, 0].sigmoid()
    sure = F.avg_pool2d(heat, 3, stride=1, padding=1) * 9
    top = F.max_pool2d(heat, 3, stride=1, padding=1) == heat
    found = []
    for s, i, j in (top & (sure > SURE)).nonzero().tolist():
        shapes, colours, rest = torch.tensor_split(maps[s, 1:, i, j], ENDS)
        colour = list(COLOURS)[int(colours.argmax())]
        thing = Thing(SHAPES[int(shapes.argmax())], colour, list(SIZES)[s])
        x, y = ((cell + float(v)) * STRIDE for cell, v in zip((j, i), rest[:2], strict=True))
        found.append(FoundThing(thing, x, y, float(sure[s, i, j]), float(rest[2].sigmoid())))
    found.sort(key=lambda f: -f.score)
    kept: list[FoundThing] = []
    for f in found:
        if not any(_same(f, other) for other in kept):
            kept.append(f)
    return kept


def _same(a: FoundThing, b: FoundThing) -> bool:
    near = math.hypot(a.x - b.x, a.y - b.y) < 5.0
    return near and (a.thing.size == b.thing.size or a.thing.colour == b.thing.colour)
