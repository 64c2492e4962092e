"""Scene -> picture and exact instance masks, in plain numpy.

x runs right, y runs down, both in pixels; a pixel's centre is its index + 0.5. Each thing is a
signed distance (negative inside), so that edges are smooth by one pixel and masks are exact.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypersd.shapes.scenes import CANVAS, COLOURS, Place, Scene, Spec, Thing, generator

Array = NDArray[np.floating[Any]]
BLUR_LEVELS = 32
MAX_BLUR = 1.0  # sigma in pixels at sharpness 0
MAX_GRAIN = 0.02  # standard deviation at clean 0, of a range of 1
MAX_LIGHT = 0.35  # how much lighter and darker a thing's lit and dark side are
_GRID = np.arange(CANVAS, dtype=np.float32) + np.float32(0.5)


def render(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene: [64, 64, 3], uint8 RGB."""
    return draw(scene)[0]


def draw(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture [64, 64, 3] and its visible instance masks [things, 64, 64].

    Things are drawn from the last to the first, so the first lies in front. A mask holds the
    pixels whose centre lies in the thing and that no nearer thing covers.
    """
    picture = background(scene)
    masks = np.zeros((len(scene.places), CANVAS, CANVAS), dtype=bool)
    for i in reversed(range(len(scene.places))):
        thing, place = scene.spec.things[i], scene.places[i]
        rows, cols, distance, light = _field(thing, place)
        cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
        paint = np.asarray(COLOURS[thing.colour], dtype=np.float32) / 255.0
        lit = np.clip(paint * (1.0 + MAX_LIGHT * scene.style.shading * light[..., None]), 0.0, 1.0)
        picture[rows, cols] += cover * (lit - picture[rows, cols])
        masks[:, rows, cols] &= ~(distance <= 0)
        masks[i, rows, cols] = distance <= 0
    return _finish(picture, scene), masks


def hidden_pixels(scene: Scene) -> int:
    """How many pixels of a scene's last thing the nearer ones hide."""
    last = len(scene.places) - 1
    alone = replace(scene, spec=Spec(scene.spec.things[last:]), places=scene.places[last:])
    return int(draw(alone)[1][0].sum() - draw(scene)[1][last].sum())


def _finish(picture: Array, scene: Scene) -> NDArray[np.uint8]:
    blur = _blur_matrix(round((1.0 - scene.style.sharpness) * (BLUR_LEVELS - 1)))
    picture = np.einsum("ij,jkc->ikc", blur, picture, optimize=True)
    picture = np.einsum("kj,ijc->ikc", blur, picture, optimize=True)
    grain = generator(scene.split, scene.index, 2).standard_normal(picture.shape, dtype=np.float32)
    picture = picture + grain * np.float32((1.0 - scene.style.clean) * MAX_GRAIN)
    return np.round(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def background(scene: Scene) -> Array:
    """The bare background, [64, 64, 3] in [0, 1]: one hue, two tones, one of six patterns."""
    value = scene.background_value
    tone = np.asarray(colorsys.hsv_to_rgb(scene.background_hue / 360, 0.26, value), np.float32)
    other = np.asarray(
        colorsys.hsv_to_rgb(scene.background_hue / 360, 0.32, value * 0.87), np.float32
    )
    mix = _pattern(scene)[..., None]
    return tone + mix * (other - tone)


def _pattern(scene: Scene) -> Array:
    """How much of the second tone each pixel has, [64, 64] in [0, 1]."""
    rng = generator(scene.split, scene.index, 4)
    x, y = _GRID[None, :], _GRID[:, None]
    turn, shift, period = rng.random() * np.pi, rng.random(), 10.0 + 6.0 * rng.random()
    along = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    match scene.background:
        case "gradient":
            ramp: Array = (along - along.min()) / (along.max() - along.min())
            return ramp
        case "striped":
            return _wave(along / period + shift)
        case "checkered":
            a, b = _wave(x / period + shift), _wave(y / period + shift)
            return a + b - 2 * a * b
        case "dotted":
            u, v = ((c / period + shift) % 1.0 - 0.5 for c in (x, y))
            dots: Array = np.clip((0.3 - np.sqrt(u * u + v * v)) * period * 0.5 + 0.5, 0.0, 1.0)
            return dots
        case "cloudy":
            coarse = rng.random((6, 6)).astype(np.float32)
            return _cloud_matrix() @ coarse @ _cloud_matrix().T
        case _:
            return np.zeros((CANVAS, CANVAS), dtype=np.float32)


def _wave(phase: Array) -> Array:
    """A soft square wave of period 1, in [0, 1]."""
    wave: Array = np.clip(0.5 + 1.2 * np.sin(2 * np.pi * phase), 0.0, 1.0).astype(np.float32)
    return wave


def _field(thing: Thing, place: Place) -> tuple[slice, slice, Array, Array]:
    """The pixels a thing can touch, its signed distance there, and the light in [-1, 1]."""
    reach = place.radius * 1.2 + 1.5
    rows = slice(max(0, int(place.y - reach)), min(CANVAS, int(place.y + reach) + 1))
    cols = slice(max(0, int(place.x - reach)), min(CANVAS, int(place.x + reach) + 1))
    x = (_GRID[None, cols] - np.float32(place.x)) / np.float32(place.radius)
    y = (_GRID[rows, None] - np.float32(place.y)) / np.float32(place.radius)
    cos, sin = np.float32(np.cos(place.angle)), np.float32(np.sin(place.angle))
    distance = OUTLINES[thing.shape](cos * x + sin * y, cos * y - sin * x)
    return rows, cols, distance * np.float32(place.radius), np.clip(-(x + y) / 1.6, -1.0, 1.0)


def _circle(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y) - 0.94


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.80


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x) * 0.8660254 - y * 0.5, y) - 0.55


def _star(x: Array, y: Array) -> Array:
    """Five points: fold the plane into one half-point, then the distance to its one edge."""
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    radius = np.sqrt(x * x + y * y)
    u, v = radius * np.cos(angle), radius * np.sin(angle)
    tip, notch = 1.06, (0.52 * np.cos(np.pi / 5), 0.52 * np.sin(np.pi / 5))
    nu, nv = notch[1], tip - notch[0]  # normal of the edge from (tip, 0) to the notch
    distance: Array = ((u - tip) * nu + v * nv) / np.float32(np.hypot(nu, nv))
    return distance


def _heart(x: Array, y: Array) -> Array:
    """(u^2 + v^2 - 1)^3 = u^2 v^3 as a level set over its gradient: about the distance."""
    u, v = x * 1.18, -y * 1.18 + 0.10
    a = u * u + v * v - 1.0
    level = a**3 - u * u * v**3
    du = 6 * u * a * a - 2 * u * v**3
    dv = 6 * v * a * a - 3 * u * u * v * v
    distance: Array = level / (1.18 * np.sqrt(du * du + dv * dv) + 0.15)
    return distance


def _cross(x: Array, y: Array) -> Array:
    a, b = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(a - 0.96, b - 0.33), np.maximum(a - 0.33, b - 0.96))


def _diamond(x: Array, y: Array) -> Array:
    return (np.abs(x) / 0.66 + np.abs(y) - 1.06) * np.float32(0.55087)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.sqrt(x * x + y * y) - 0.77) - 0.21


OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "diamond": _diamond,
    "ring": _ring,
}


@cache
def _blur_matrix(level: int) -> Array:
    """A Gaussian blur along one axis as a [64, 64] matrix whose rows sum to 1."""
    sigma = MAX_BLUR * level / (BLUR_LEVELS - 1)
    if sigma < 0.05:
        return np.eye(CANVAS, dtype=np.float32)
    weights = np.exp(-0.5 * ((_GRID[:, None] - _GRID[None, :]) / sigma) ** 2)
    rows: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows


@cache
def _cloud_matrix() -> Array:
    """Smooth interpolation from 6 knots to 64 pixels: [64, 6], rows sum to 1."""
    knots = np.linspace(0, CANVAS, 6, dtype=np.float32)
    weights = np.exp(-0.5 * ((_GRID[:, None] - knots[None, :]) / 7.0) ** 2)
    rows: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows
