"""Photographs of a prompt set, fetched into a folder: many at once, each checked, then kept.

Intact files are not fetched again, so a run that was stopped goes on, and an archive of
the publisher's that was unpacked there is used as it is. A set is complete or refused: a distance
to fewer pictures is another number.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from bench.errors import UsageError, listed, os_words
from bench.results import places
from bench.run.progress import Advance
from bench.suite import prompt_pictures
from bench.suite.prompt_pictures import Photograph
from hypersd import hub_client
from hypersd.hub_client import Unreachable
from hypersd.whole_files import written_whole

AT_ONCE = 16  # connections
JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Photographs:
    """The photographs of a prompt set. absent: those not on this machine, by name."""

    name: str
    wanted: tuple[Photograph, ...]
    absent: tuple[Photograph, ...]

    @property
    def size(self) -> int:
        """Bytes to fetch, estimated."""
        return len(self.absent) * prompt_pictures.BYTES


def of(prompt_set: str) -> Photographs:
    """The photographs of a prompt set. Raises UsageError where it is not known which they are."""
    wanted, folder = prompt_pictures.of(prompt_set, places.prompts()), places.pictures()
    absent = tuple(one for one in wanted if not (folder / one.name).is_file())
    return Photographs(prompt_set, wanted, absent)


def ask_for(some: Photographs) -> None:
    """Ask whether the first missing picture may be downloaded.

    Raises UsageError, which names other sources.
    """
    for one in some.absent[:1]:
        try:
            hub_client.size_of(one.address)
        except UsageError as error:
            raise UsageError(
                f"{len(some.absent):,} pictures of {some.name}, about {some.size / 1e9:.2f} GB: "
                f"{error}; {prompt_pictures.MIRROR} names a mirror, or put them into "
                f"{places.pictures()}"
            ) from None


def fetch(some: Photographs, advance: Advance) -> None:
    """Have all of them in `places.pictures()`.

    Raises UsageError that names those which their publisher does not give, or gives damaged, after
    all others are here; at once if the server does not answer, or nothing can be written.
    """
    stop, refused = Event(), list[str]()

    def have(one: Photograph) -> None:
        if stop.is_set():
            return
        try:
            _have(one, places.pictures() / one.name)
        except (Unreachable, OSError):
            stop.set()
            raise
        except UsageError as error:
            refused.append(f"{Path(one.name).name} {error}")

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for _ in pool.map(have, some.wanted):
            advance(1)
    except Unreachable as error:
        raise UsageError(f"{some.name}: {error}; what came is kept") from None
    except OSError as error:
        raise UsageError(f"{places.pictures()}: {os_words(error)}; {places.VARIABLE} names another "
                         "place") from None  # fmt: skip
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if refused:
        raise UsageError(
            f"{some.name}: {len(refused)} of {len(some.wanted):,} pictures cannot be had: "
            f"{listed(sorted(refused))}; the others are kept. All are needed, since a distance "
            f"depends on their number: put them into {places.pictures()}, or name a mirror by "
            f"{prompt_pictures.MIRROR}"
        )


def _have(one: Photograph, path: Path) -> None:
    """A picture at its path. Raises UsageError, to be said after its name, Unreachable, OSError."""
    if path.is_file():
        try:
            return _check(one, path.read_bytes())
        except UsageError:
            pass  # damaged: fetched again
    content = _fetched(one)
    _check(one, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, synced=False) as beside:  # what is cut off is noticed
        beside.write_bytes(content)
    return None


def _fetched(one: Photograph) -> bytes:
    try:
        return hub_client.read_address(one.address)
    except Unreachable:
        raise
    except UsageError as error:
        raise UsageError(f"({str(error).removeprefix(f'{one.address}: ')})") from None


def _check(one: Photograph, content: bytes) -> None:
    """Raise UsageError for bytes that are not the whole picture."""
    from hypersd.picture_reader import decode

    if not content.startswith(JPEG):
        raise UsageError("is no JPEG file")
    size, said = decode(content).image.size, (one.width, one.height)
    if size not in (said, said[::-1]):  # turned, where EXIF says so
        raise UsageError(f"has {size[0]} x {size[1]} pixels, not {one.width} x {one.height}")
