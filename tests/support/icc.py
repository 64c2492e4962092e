"""ICC profiles of three primaries and a gamma, or of grey, and the same in closed form."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
# Colorants of Display P3 and of sRGB, adapted to D50 (Bradford), XYZ in columns.
P3 = np.array([
    [0.515121, 0.291977, 0.157104],
    [0.241196, 0.692245, 0.066574],
    [-0.001053, 0.041885, 0.784073],
])  # fmt: skip
SRGB = np.array([
    [0.436066, 0.385147, 0.143066],
    [0.222488, 0.716873, 0.060608],
    [0.013916, 0.097076, 0.714096],
])  # fmt: skip


def rgb_profile(colorants: Any = P3, gamma: float = 2.2) -> bytes:
    """An RGB profile, version 2.  colorants: XYZ of red, green, blue in columns."""
    tags = {f"{c}XYZ": _xyz(colorants[:, i]) for i, c in enumerate("rgb")}
    return _profile(b"RGB ", tags | {f"{c}TRC": _curve(gamma) for c in "rgb"})


def grey_profile(gamma: float) -> bytes:
    """A grey profile, version 2."""
    return _profile(b"GRAY", {"kTRC": _curve(gamma)})


def converted(rgb: Any, colorants: Any = P3, gamma: float = 2.2) -> Any:
    """uint8 RGB of such a profile -> sRGB in levels, float, by matrices."""
    linear = (np.asarray(rgb) / 255.0) ** gamma
    return encoded(linear @ (np.linalg.inv(SRGB) @ colorants).T)


def encoded(linear: Any) -> Any:
    """Linear sRGB -> levels."""
    x = linear.clip(0, 1)
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def _profile(space: bytes, tags: dict[str, bytes]) -> bytes:
    tags = {"desc": _description(b"made"), "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(D50), **tags}
    place, table, data = 132 + 12 * len(tags), b"", b""
    for name, held in tags.items():
        table += struct.pack(">4sII", name.encode(), place + len(data), len(held))
        data += held + bytes(-len(held) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", place + len(data), b"lcms", 0x02100000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H4s4s", 2026, 1, 1, 0, 0, 0, b"acsp", b"APPL")
    head = head.ljust(68, b"\0") + _fixed(D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def _xyz(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _description(words: bytes) -> bytes:
    text = words + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
