"""What the reader gives is what another decoder gives, or a closed form; the rest is refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image

from hypersd import picture_colours, picture_reader
from hypersd.errors import UsageError
from hypersd.picture_reader import decode
from tests.support import icc
from tests.support.png import CHANNELS, GREY, PALETTE, RGB, exif, png, transparent

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
ORIENTATIONS = st.integers(1, 8)
DEPTHS = [(8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]


def stored(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def smooth(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def tagged(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x112] = orientation
    return found


def by_torchvision(data: bytes, mode: ImageReadMode = ImageReadMode.RGB) -> Any:
    """[H, W, 3] in levels: EXIF applied, alpha on white."""
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    found = decode_image(tensor, mode, apply_exif_orientation=True).permute(1, 2, 0).numpy()
    of = found.astype(float) / np.iinfo(found.dtype).max
    return 255 * of if of.shape[2] == 3 else on_white(255 * of[..., :3], of[..., 3:])


def on_white(colours: Any, alpha: Any) -> Any:
    return colours * alpha + 255 * (1 - alpha)


def unlike(data: bytes, expected: Any) -> float:
    """The largest difference, in levels."""
    found = decode(data).pixels
    assert found.dtype == np.uint8 and found.shape == expected.shape
    return float(np.abs(found.astype(float) - expected).max())


@QUICK
@given(st.sampled_from(DEPTHS), SEEDS, ORIENTATIONS)
def test_png_by_torchvision(of: tuple[int, int], seed: int, orientation: int) -> None:
    depth, kind = of
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, (*rng.integers(1, 9, 2), CHANNELS[kind]))
    data = png(values, depth, kind, [exif(orientation)])
    expected = by_torchvision(data, ImageReadMode.RGB_ALPHA)
    assert unlike(data, expected) <= (2 if depth == 16 else 0.51)  # Pillow keeps the high byte


@QUICK
@given(st.sampled_from([(8, RGB), (16, GREY)]), SEEDS)
def test_a_colour_that_is_transparent(of: tuple[int, int], seed: int) -> None:
    """In levels of the file: torchvision does not heed it."""
    depth, kind = of
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, (2, 4, CHANNELS[kind])).repeat(2, 1)
    data = png(values, depth, kind, [transparent(*values[0, 0])])
    alpha = (values != values[0, 0]).any(-1, keepdims=True)
    expected = on_white(values * 255 / (2**depth - 1), alpha) * np.ones(3)
    assert unlike(data, expected) <= 0.51


@QUICK
@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([GREY, PALETTE]), SEEDS, st.booleans())
def test_png_of_levels_and_palettes(depth: int, kind: int, seed: int, keyed: bool) -> None:
    """By a table: torchvision reads palettes and less than 8 bits wrongly."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, (*rng.integers(1, 9, 2), 1))
    table, alpha = rng.integers(0, 256, (2**depth, 3), np.uint8), np.full((2**depth, 1), 255, "u1")
    parts = [(b"PLTE", table.tobytes())] if kind == PALETTE else []
    if kind == GREY:
        table = np.linspace(0, 255, 2**depth)[:, None].repeat(3, -1)
    if keyed and kind == GREY:
        alpha[values[0, 0]] = 0
        parts.append(transparent(*values[0, 0]))
    elif keyed:
        alpha = rng.integers(0, 256, alpha.shape, np.uint8)
        parts.append((b"tRNS", alpha.tobytes()))
    expected = on_white(table, alpha / 255)[values[..., 0]]
    assert unlike(png(values, depth, kind, parts), expected) <= 0.51


@QUICK
@given(st.sampled_from(["L", "RGB"]), st.sampled_from([0, 2]), SEEDS, ORIENTATIONS)
def test_jpeg(mode: str, subsampling: int, seed: int, orientation: int) -> None:
    picture = smooth(seed).convert(mode)
    data = stored(picture, "JPEG", subsampling=subsampling, exif=tagged(orientation))
    assert unlike(data, by_torchvision(data)) <= 1


@QUICK
@given(st.sampled_from(["L", "RGB", "RGBA"]), SEEDS)
def test_webp(mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)).convert(mode)
    data = stored(picture, "WEBP", lossless=True, exact=True)
    assert unlike(data, by_torchvision(data, ImageReadMode.RGB_ALPHA)) <= 0.51


def test_webp_is_turned_as_its_exif_says() -> None:
    data = stored(smooth(0), "WEBP", lossless=True, exif=tagged(6))
    assert unlike(data, np.rot90(np.asarray(smooth(0)), -1)) == 0


MODES = ["I;16", "I;16B", "I", "F", "1", "CMYK", "LA", "RGBA"]
if int(PIL.__version__.split(".")[0]) >= 13:  # before it Pillow does not read back what it wrote
    MODES.append("YCbCr")


@QUICK
@given(st.sampled_from(MODES), SEEDS)
def test_tiff_of_every_mode_by_closed_forms(mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    v: Any
    if mode in ("I;16", "I;16B", "I"):
        v = rng.integers(0, 65536, (4, 5))
        held = v.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
        expected = v[..., None].repeat(3, -1) / 257
    elif mode == "F":
        v = held = rng.random((4, 5), dtype=np.float32)
        expected = 255 * v[..., None].repeat(3, -1)
    elif mode == "1":
        picture = Image.fromarray(rng.integers(0, 2, (4, 5)) > 0)
        held, expected = None, 255.0 * np.asarray(picture)[..., None].repeat(3, -1)
    else:
        bands = {"CMYK": 4, "LA": 2, "RGBA": 4, "YCbCr": 3}[mode]
        held = v = rng.integers(0, 256, (4, 5, bands), dtype=np.uint8)
        expected = {
            "CMYK": lambda: (
                (255 - v[..., :3].astype(float)) * (255 - v[..., 3:].astype(float)) / 255
            ),
            "LA": lambda: on_white(v[..., [0, 0, 0]], v[..., 1:] / 255),
            "RGBA": lambda: on_white(v[..., :3], v[..., 3:] / 255),
            "YCbCr": lambda: from_ycc(v),
        }[mode]()
    if held is not None:
        picture = Image.frombytes(mode, (5, 4), held.tobytes())
    assert unlike(stored(picture, "TIFF"), expected) <= (1 if mode in ("CMYK", "YCbCr") else 0.51)


def from_ycc(values: Any) -> Any:
    """JFIF's formula, in levels."""
    y, b, r = (values[..., i].astype(float) - (128 if i else 0) for i in range(3))
    return np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], -1).clip(
        0, 255
    )


@QUICK
@given(st.floats(1.4, 2.6), st.floats(0, 1), st.sampled_from(["PNG", "WEBP", "TIFF"]), SEEDS)
def test_a_profile_is_converted_by_its_matrix(
    gamma: float, share: float, kind: str, seed: int
) -> None:
    colorants = share * icc.P3 + (1 - share) * icc.SRGB
    v = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = stored(
        Image.fromarray(v), kind, icc_profile=icc.rgb_profile(colorants, gamma), **options
    )
    assert unlike(data, icc.converted(v, colorants, round(gamma * 256) / 256)) <= 2


def test_srgbs_own_profile_changes_nothing() -> None:
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = decode(stored(smooth(1), "PNG", icc_profile=srgb))
    assert (found.pixels == np.asarray(smooth(1))).all()
    assert found.notes == () and not found.image.info


def test_lab_by_closed_form() -> None:
    """In a TIFF: L* in 255ths of 100, a* and b* signed; D50."""
    v = np.array([[[140, 10, -20], [200, -8, 30], [60, 0, 0]]])
    lightness = v[..., :1] * 100 / 255
    y = (lightness + 16) / 116 + v[..., 1:] * [1 / 500, -1 / 200]
    f = np.stack([y[..., 0], (lightness[..., 0] + 16) / 116, y[..., 1]], -1)
    xyz = icc.D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    expected = icc.encoded(xyz @ np.linalg.inv(icc.SRGB).T)
    picture = Image.frombytes("LAB", (3, 1), v.astype(np.int8).tobytes())
    assert unlike(stored(picture, "TIFF"), expected) <= 2


def test_inverted_cmyk_and_ycck_of_adobes_jpeg() -> None:
    """Adobe inverts CMYK, and its YCC is of the inverse of RGB; Pillow writes but the first."""
    cmyk = smooth(2).convert("CMYK")
    data = stored(cmyk, "JPEG", quality=100)
    assert unlike(data, np.asarray(smooth(2))) <= 4
    ycc = np.asarray(ImageOps.invert(smooth(2)).convert("YCbCr"))
    bands = np.dstack((255 - ycc, np.zeros((16, 24, 1), np.uint8)))  # as if it were C, M, Y, K
    ycck = Image.frombytes("CMYK", (24, 16), bands.tobytes())
    data = stored(ycck, "JPEG", quality=100)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    assert unlike(data[:place] + b"\2" + data[place + 1 :], np.asarray(smooth(2))) <= 6


@pytest.mark.parametrize("gamma", [1.8, 2.2])
def test_grey_by_a_grey_profile(gamma: float) -> None:
    v = np.arange(256, dtype=np.uint8)[None]
    data = stored(Image.fromarray(v), "PNG", icc_profile=icc.grey_profile(gamma))
    grey = icc.converted(v[..., None].repeat(3, -1), icc.SRGB, round(gamma * 256) / 256)
    assert unlike(data, grey) <= 1.5


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("profile", [b"x" * 300, icc.rgb_profile()[:200], icc.grey_profile(1.8)])
def test_a_profile_that_cannot_be_used_is_ignored_and_said(kind: str, profile: bytes) -> None:
    plain, found = (decode(stored(smooth(3), kind, **of)) for of in ({}, {"icc_profile": profile}))
    assert (plain.pixels == found.pixels).all()
    assert found.notes == (picture_colours.IGNORED,)


def test_what_was_done_is_said() -> None:
    v = np.full((2, 2, 4), 200)
    for data, notes in (
        (png(v, 8, 6), [picture_colours.TRANSPARENT]),
        (png(v + 55, 8, 6), []),
        (png(v[..., :1], 16, GREY), [picture_colours.SCALED]),
        (png(v[..., :3], 8, RGB, [exif(3)]), [picture_reader.TURNED]),
        (png(v[..., :3], 8, RGB, [exif(1)]), []),
        (png(v[..., :3], 8, RGB, [(b"gAMA", struct.pack(">I", 45455))]), []),
        (
            png(v[..., :3], 8, RGB, [(b"gAMA", struct.pack(">I", 100000))]),
            [picture_colours.UNHEEDED],
        ),
        (png(v[..., :3], 8, RGB, [(b"eXIf", b"nonsense")]), []),
        (stored(smooth(0), "PNG", icc_profile=icc.rgb_profile()), [picture_colours.CONVERTED]),
    ):
        assert list(decode(data).notes) == notes


def test_the_first_picture_of_a_phones_multi_picture_file_is_shown() -> None:
    data = stored(smooth(4), "MPO", save_all=True, append_images=[smooth(5)], quality=100)
    assert unlike(data, by_torchvision(data)) <= 1


def several(kind: str) -> bytes:
    return stored(smooth(0), kind, save_all=True, append_images=[smooth(1)])


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


COMMENTED = png(np.zeros((4, 4, 3), int), 8, RGB, [(b"tEXt", b"a\0b")])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (several("PNG"), "has 2 frames: it is animated; valid: one still picture"),
        (several("WEBP"), "has 2 frames"),
        (several("GIF"), "has 2 frames"),
        (several("TIFF"), "has 2 pages"),
        (b"", "is empty; valid: a picture"),
        (b"no picture" * 9, "is a text; valid: a picture"),
        (stored(smooth(0), "PNG")[:-20], r"is unreadable \(.*cut off"),
        (stored(smooth(0), "JPEG")[:-60], r"is unreadable \(.*truncated"),
        (stored(smooth(0), "WEBP")[:-60], "is unreadable"),
        (flipped(COMMENTED, COMMENTED.index(b"tEXt") + 6), r"checksum of b'tEXt' is wrong"),
        (stored(smooth(0), "ICO", sizes=[(16, 16)]), "is a ICO file; valid: PNG, JPEG, WebP"),
        (stored(Image.fromarray(np.float32([[0, 1.5]])), "TIFF"), r"outside \[0, 1\]"),
        (stored(Image.fromarray(np.float32([[0, np.nan]])), "TIFF"), r"outside \[0, 1\]"),
        (stored(Image.fromarray(np.int32([[0, 65536]])), "TIFF"), r"outside \[0, 65535\]"),
        (png(np.zeros((2, 2, 3), int), 16, RGB, [transparent(1, 2, 3)]), "one of them transparent"),
    ],
)  # fmt: skip
def test_what_is_no_still_and_whole_picture_is_refused_in_a_line(data: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        decode(data)
    assert "\n" not in str(raised.value)


def test_a_picture_of_too_many_pixels_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UsageError, match=r"is unreadable \(more than 200 pixels\)"):
        decode(stored(smooth(0), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert decode(stored(smooth(0), "PNG")).image.size == (24, 16)
