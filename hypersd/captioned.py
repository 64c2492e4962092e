"""One picture with its caption, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypersd import records
from hypersd.file_kinds import BEGINNING, TEXT, instead

CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture as it is stored, and its caption or None.

    fault: why it is left out though both may be there, or "".
    """

    name: str
    image: bytes
    caption: str | None
    fault: str = ""


def captioned(name: str, image: bytes, captions: Mapping[str, object]) -> CaptionedPicture:
    """A picture and its caption, stripped of white space.

    captions: bytes or text by the place they come from; empty ones and None do not count. It is a
    fault where one is no text, or two differ.
    """
    told: dict[str, str] = {}
    for where, held in captions.items():
        try:
            text = _text(held)
        except ValueError as error:
            return CaptionedPicture(name, image, None, f"{where}: {error}")
        if text:
            told.setdefault(text, where)
    if len(told) > 1:
        fault = f"other captions in {' and '.join(told.values())}"
        return CaptionedPicture(name, image, None, fault)
    return CaptionedPicture(name, image, next(iter(told), None))


def _text(held: object) -> str:
    if held is None:
        return ""
    if held and isinstance(held, bytes) and (said := instead(held[:BEGINNING], TEXT)):
        raise ValueError(said)
    text = records.decoded(held) if isinstance(held, bytes) else held
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.40} is no text")
    records.check_writable(text)
    return text.strip()
