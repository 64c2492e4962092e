"""What a program opened, and files changed in the least way that still parses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_OPENED: set[str] = set()
_HOOKED: list[bool] = []


@contextmanager
def opened_below(folder: Path) -> Iterator[set[Path]]:
    """The files below a folder that Python code opens in the block (not what Rust opens:
    safetensors' weights and tokenizers)."""
    if not _HOOKED:
        sys.addaudithook(_note)  # there is no taking it back
        _HOOKED.append(True)
    _OPENED.clear()
    found: set[Path] = set()
    yield found
    paths = [Path(name) for name in _OPENED]
    found |= {path for path in paths if path.is_relative_to(folder) and path.is_file()}


def _note(event: str, values: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(values[0], str):
        _OPENED.add(values[0])


@contextmanager
def changed(path: Path) -> Iterator[None]:
    """A file that says something else in the block, and the same again afterwards."""
    content = path.read_bytes()
    path.write_bytes(_otherwise(path, content))
    try:
        yield
    finally:
        path.write_bytes(content)


def _otherwise(path: Path, content: bytes) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_other(json.loads(content))).encode()
    if path.suffix in (".txt", ".jsonl"):
        return content.rstrip(b"\n").replace(b'"}', b' indeed"}') + b"!\n"
    if path.suffix == ".png":
        with Image.open(path) as image:
            pixels = np.asarray(image).copy()
        pixels[0, 0] ^= 1
        Image.fromarray(pixels).save(path)
        return path.read_bytes()
    return content[:-1] + bytes([content[-1] ^ 1])


def _other(value: Any) -> Any:
    """JSON with its last leaf changed."""
    if isinstance(value, dict) and value:
        *_, last = value
        return {**value, last: _other(value[last])}
    if isinstance(value, list) and value:
        return [*value[:-1], _other(value[-1])]
    if isinstance(value, bool) or value is None:
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}!"
