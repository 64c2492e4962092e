"""What Chromium shows of odd files is what the reader gives."""

from __future__ import annotations

import base64
import io
import shutil
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hypersd.picture_reader import decode
from tests.hypersd.test_picture_reader import smooth, stored, tagged
from tests.support import icc
from tests.support.png import GREY, GREY_ALPHA, RGB, RGB_ALPHA, exif, png, transparent

pytestmark = pytest.mark.browser
SIDE = 60  # of the square that a picture has on the page, in pixels
ACROSS = 8
WEBP_EXIF = "turned.webp"  # Chromium does not turn WebP, as other viewers do


def files() -> Iterator[tuple[str, bytes]]:
    """Name and content of each; none has a side of `SIDE` pixels or more."""
    picture = smooth(1, (48, 32))
    v = np.asarray(picture).astype(int)
    grey = np.asarray(picture.convert("L")).astype(int)[..., None]
    alpha = np.linspace(0, 255, 48).astype(int)[None, :, None].repeat(32, 0)
    low = np.random.default_rng(0).integers(0, 256, v.shape)
    clear = Image.fromarray(np.concatenate([v, alpha], -1).astype(np.uint8))
    yield "plain.png", png(v, 8, RGB)
    yield "grey16.png", png(256 * grey + low[..., :1], 16, GREY)
    yield "grey16-keyed.png", png(np.maximum(grey, 80) * 257, 16, GREY, [transparent(80 * 257)])
    yield "grey2-keyed.png", png(grey >> 6, 2, GREY, [transparent(1)])
    yield "keyed.png", png(np.maximum(v, 80), 8, RGB, [transparent(80, 80, 80)])
    yield "colour16.png", png(256 * v + low, 16, RGB)
    yield "alpha.png", png(np.concatenate([v, alpha], -1), 8, RGB_ALPHA)
    yield "alpha16.png", png(257 * np.concatenate([v, alpha], -1), 16, RGB_ALPHA)
    yield "grey-alpha.png", png(np.concatenate([grey, alpha], -1), 8, GREY_ALPHA)
    yield "palette.png", stored(picture.quantize(32), "PNG")
    yield (
        "clear-palette.png",
        stored(picture.quantize(32), "PNG", transparency=bytes(range(0, 256, 8))),
    )
    yield "bits.png", stored(picture.convert("1"), "PNG")
    yield "alpha.webp", stored(clear, "WEBP", lossless=True, exact=True)
    yield "cmyk.jpg", stored(picture.convert("CMYK"), "JPEG", quality=98)
    yield "a-jpeg.png", stored(picture, "JPEG", quality=95)
    for orientation in range(1, 9):
        yield f"turned{orientation}.jpg", stored(picture, "JPEG", exif=tagged(orientation))
    yield "turned.png", png(v, 8, RGB, [exif(6)])
    yield WEBP_EXIF, stored(picture, "WEBP", lossless=True, exif=tagged(6))
    wide, dim, torn = icc.rgb_profile(), icc.grey_profile(1.8), b"x" * 300
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")):
        how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        yield f"p3.{suffix}", stored(picture, kind, icc_profile=wide, **how)
        yield f"torn-profile.{suffix}", stored(picture, kind, icc_profile=torn, **how)
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg")):
        yield f"grey-profile.{suffix}", stored(picture.convert("L"), kind, icc_profile=dim)
        yield f"grey-in-p3.{suffix}", stored(picture.convert("L"), kind, icc_profile=wide)
        yield f"colour-in-grey.{suffix}", stored(picture, kind, icc_profile=dim)
    yield "clear-p3.png", stored(clear, "PNG", icc_profile=wide)
    yield "palette-p3.png", stored(picture.quantize(32), "PNG", icc_profile=wide)
    yield "srgb-gamma.png", png(v, 8, RGB, [(b"gAMA", struct.pack(">I", 45455))])


def place(number: int) -> tuple[int, int]:
    return number // ACROSS * SIDE, number % ACROSS * SIDE


@pytest.fixture(scope="module")
def page() -> Any:
    """A screenshot, [H, W, 3], with the files in rows on white."""
    engine = pytest.importorskip("playwright.sync_api")
    images = []
    for number, (name, content) in enumerate(files()):
        y, x = place(number)
        kind = {"png": "png", "jpg": "jpeg", "webp": "webp"}[name.rpartition(".")[2]]
        data = base64.b64encode(content).decode()
        images.append(f'<img style="position:absolute;left:{x}px;top:{y}px" '
                      f'src="data:image/{kind};base64,{data}">')  # fmt: skip
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    arguments = ["--no-sandbox", "--force-color-profile=srgb"]
    height = place(len(images) - 1)[0] + SIDE
    with engine.sync_playwright() as one:
        browser = one.chromium.launch(executable_path=found, args=arguments)
        shown = browser.new_page(viewport={"width": ACROSS * SIDE, "height": height})
        shown.set_content(f'<body style="background:#fff">{"".join(images)}')
        shown.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        data = shown.screenshot()
        browser.close()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("number", "name", "content"), [(i, *of) for i, of in enumerate(files())],
    ids=[name for name, _ in files()],
)  # fmt: skip
def test_it_is_shown_as_it_is_read(page: Any, number: int, name: str, content: bytes) -> None:
    y, x = place(number)
    pixels = decode(content).pixels
    if name == WEBP_EXIF:
        pixels = np.rot90(pixels)
    expected = np.full((SIDE, SIDE, 3), 255)
    expected[: pixels.shape[0], : pixels.shape[1]] = pixels
    assert np.abs(page[y : y + SIDE, x : x + SIDE] - expected).max() <= 1
