"""Decoded pictures in any mode of Pillow -> 8-bit sRGB.

16-bit grey v is v / 257, float grey v in [0, 1] is 255 v, rounded.  An ICC profile is converted by
its perceptual intent, as browsers do; one whose colours are sRGB's within a level changes nothing,
one that is damaged or of another colour space than the picture's is ignored.  CMYK without a
profile is (1 - C)(1 - K), and so on.  Transparency: sRGB values are mixed with white, as browsers
do.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from hypersd.errors import UsageError

SCALED = "have 16-bit or float grey: scaled to 8 bit"
CONVERTED = "have an ICC profile: converted to sRGB"
IGNORED = "have an ICC profile that cannot be used: ignored"
TRANSPARENT = "have transparent pixels: shown on white"
UNHEEDED = "have gAMA or cHRM chunks unlike sRGB's: not heeded"

TELLING = {"transparency", "icc_profile", "gamma", "chromaticity"}  # of how colours are meant
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # an ICC profile's -> Pillow's mode
STEPS = 17  # per channel, of the colours by which a profile is compared with sRGB
PERCEPTUAL = ImageCms.Intent.PERCEPTUAL
SRGB_GAMMA = 1 / 2.2
SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
NEAR = 0.01
COLORIMETRIC = ImageCms.Intent.RELATIVE_COLORIMETRIC


def to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded picture in RGB, and the conversions that were made.

    Raises UsageError for grey outside its range, ValueError for a mode that Pillow cannot convert.
    """
    if image.mode == "RGB" and not image.info.keys() & TELLING:
        return image, ()
    profile = image.info.get("icc_profile")
    notes = [UNHEEDED] if _is_unlike_srgb(image.info) else []
    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey_8_bit(image)
        notes.append(SCALED)
    colours, alpha = _apart(image)
    shown, note = _rgb(colours, profile)
    notes += [note] if note else []
    if alpha is not None and alpha.getextrema() != (255, 255):
        shown = _on_white(shown, alpha)
        notes.append(TRANSPARENT)
    return shown, tuple(notes)


def _is_unlike_srgb(info: Mapping[Any, Any]) -> bool:
    """Whether a PNG has gAMA or cHRM chunks that count by the standard and differ from sRGB."""
    if info.keys() & {"srgb", "icc_profile"}:
        return False
    told = (info.get("gamma", SRGB_GAMMA), *info.get("chromaticity", SRGB_CHROMATICITIES))
    return not np.allclose(told, (SRGB_GAMMA, *SRGB_CHROMATICITIES), atol=NEAR)


def _grey_8_bit(image: Image.Image) -> Image.Image:
    """L, or LA where one level is transparent."""
    values, transparent = np.asarray(image), image.info.get("transparency")
    low, high = (0, 1) if image.mode == "F" else (0, 65535)
    if not ((values >= low) & (values <= high)).all():
        raise UsageError(f"has grey levels of {image.mode} outside [{low}, {high}]; valid: 8 bit, "
                         "16 bit, or float in [0, 1]")  # fmt: skip
    scaled = np.rint(values * 255.0) if image.mode == "F" else (values.astype(int) + 128) // 257
    grey = Image.fromarray(scaled.astype(np.uint8))
    if transparent is None:
        return grey
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, and alpha if there is one."""
    if not image.has_transparency_data:
        return image, None
    whole = image.convert("RGBA")
    grey = image.mode in ("1", "L", "LA")
    return whole.getchannel("R") if grey else whole.convert("RGB"), whole.getchannel("A")


def _on_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Each value mixed with 255 by alpha / 255, rounded once."""
    c, a = np.asarray(colours).astype(np.uint16), np.asarray(alpha).astype(np.uint16)[..., None]
    return Image.fromarray(((c * a + 255 * (255 - a) + 127) // 255).astype(np.uint8))


def _rgb(colours: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """RGB by the embedded profile if it fits the mode, else by the mode alone."""
    if colours.mode == "LAB":
        return _from_lab().apply(colours), None
    if profile is None:
        return colours.convert("RGB"), None
    try:
        mode = SPACES.get(_opened(profile).profile.xcolor_space)
        fitting = _in_mode(colours, mode)
        change = _change(profile, fitting.mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return colours.convert("RGB"), IGNORED
    if change is None:
        return fitting.convert("RGB"), None
    return change.apply(fitting), CONVERTED


def _in_mode(colours: Image.Image, mode: str | None) -> Image.Image:
    """Colours in a profile's mode: grey goes with RGB's. Raises ValueError where they are not."""
    own = {"1": "L", "L": "L", "CMYK": "CMYK"}.get(colours.mode, "RGB")
    if mode == own or (mode, own) == ("RGB", "L"):
        return colours.convert(mode)
    raise ValueError(f"a profile of {mode} for a picture in {colours.mode}")


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=16)
def _change(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a mode's values to sRGB; None if they are sRGB already."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    change = ImageCms.ImageCmsTransform(_opened(profile), srgb, mode, "RGB", PERCEPTUAL)
    if mode == "CMYK":
        return change
    levels = np.linspace(0, 255, STEPS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(STEPS, -1, 3)
    own = Image.fromarray(grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    moved = np.asarray(change.apply(own)).astype(int) - np.asarray(own.convert("RGB"))
    return None if np.abs(moved).max() <= 1 else change


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    """CIELAB (D50, as a TIFF has it) to sRGB."""
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(s)) for s in ("LAB", "sRGB"))
    return ImageCms.ImageCmsTransform(lab, srgb, "LAB", "RGB", COLORIMETRIC)
