"""Lossless compression of pictures: WebP, in threads beside the drawing.

What other codecs take of 1024 px photographs, in bytes and in time: docs/performance.md.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import brief

RATIO = 0.33  # of raw bytes, on average over 14 photographs of 1024 px; 0.52 at most
FILES, ENDS = ".webp", ".ends"  # what a name of arrays ends with that stand for pictures
THREADS = min(8, os.cpu_count() or 1)

Images = NDArray[np.uint8]


def encoded(picture: Images) -> bytes:
    """A picture [H, W, 3] as a WebP file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def decoded(file: bytes) -> Images:
    """The picture [H, W, 3] of a WebP file. Raises ValueError for other bytes."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file), formats=["WEBP"]) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"not a WebP file ({brief(error, 120)})") from None


class Encoder:
    """Encodes pictures in threads of its own, which end with the context."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS)
        self._files: list[Future[bytes]] = []

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._threads.shutdown(cancel_futures=True)

    def add(self, pictures: Images) -> None:
        """Begin with some more [N, H, W, 3], after those before; they must not change any more."""
        self._files += [self._threads.submit(encoded, picture) for picture in pictures]

    def files(self) -> list[bytes]:
        """All of them, once they are done."""
        return [file.result() for file in self._files]


def packed(name: str, files: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Pictures of one size as two arrays: the files' bytes, one after another, and their ends."""
    ends = np.cumsum([len(file) for file in files], dtype=np.int64)
    return {f"{name}{FILES}": np.frombuffer(b"".join(files), np.uint8), f"{name}{ENDS}": ends}


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays with pictures [N, H, W, 3] under `name` instead of what `packed` made of them.

    Raises ValueError where they cannot be decoded, or are of several sizes.
    """
    found = dict(arrays)
    for name in [key.removesuffix(FILES) for key in arrays if key.endswith(FILES)]:
        ends = found.pop(f"{name}{ENDS}")
        found[name] = _pictures(np.split(found.pop(f"{name}{FILES}"), ends[:-1]))
    return found


def _pictures(parts: Sequence[NDArray[np.uint8]]) -> Images:
    with ThreadPoolExecutor(THREADS) as threads:
        return np.stack(list(threads.map(lambda part: decoded(part.tobytes()), parts)))
