"""The photographs that a published prompt set's captions were written for: their names and
addresses. None are shipped; a run fetches them from their publisher.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.suite import prompt_files, prompt_sets

PUBLISHER = "http://images.cocodataset.org"  # a bucket, which has no certificate of that name
MIRROR = "COCO_ENDPOINT"  # the environment variable that names another place of the same files
LICENCE = "each its author's under Flickr's terms of use (annotations: CC BY 4.0, COCO Consortium)"
BYTES = 164_000  # of a picture on average: val2014.zip has 6,645,013,297 of 40,504
COLUMNS = ("coco_url", "width", "height")
NAMES = ("coco2014_5k",)  # sets whose own file says which picture each caption is of
_URL = re.compile(rf"{re.escape(PUBLISHER)}/(?P<name>[a-z0-9]+/[A-Za-z0-9_]+\.jpg)")


@dataclass(frozen=True)
class Photograph:
    """name: below the publisher's address, and below the folder that it is kept in.

    width, height: in pixels, as the publisher says.
    """

    name: str
    width: int
    height: int

    @property
    def address(self) -> str:
        """Where it is fetched: at the publisher's, or at the mirror that $COCO_ENDPOINT names."""
        return f"{endpoint()}/{self.name}"


def endpoint() -> str:
    """The address below which pictures are fetched."""
    return os.environ.get(MIRROR, PUBLISHER).rstrip("/")


def of(prompt_set: str, folder: Path) -> tuple[Photograph, ...]:
    """The photographs of a set in `NAMES`, each once, in the order of its captions.

    folder: of prompt sets; the set's file is fetched into it where it is not there.
    Raises UsageError where it cannot be had, or does not say which pictures they are.
    """
    found: dict[Photograph, None] = {}
    for path in prompt_sets.files(prompt_set, folder):
        for number, cells in enumerate(prompt_files.cells(path, COLUMNS), 1):
            try:
                found[_photograph(cells)] = None
            except ValueError as error:
                raise UsageError(f"prompts.set={path}: row {number} {error}") from None
    return tuple(found)


def _photograph(cells: Sequence[str]) -> Photograph:
    url, width, height = cells
    known = _URL.fullmatch(url)
    if known is None:
        raise ValueError(f"has the coco_url {url[:80]!r}; valid: {PUBLISHER}/FOLDER/NAME.jpg")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"has no whole numbers of pixels: {width[:20]!r} x {height[:20]!r}")
    return Photograph(known["name"], int(width), int(height))
