"""Requests to the Hugging Face hub and to web addresses; every error is one line.

`huggingface_hub` does the work, so HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT and tokens hold here as
everywhere. A busy server is asked again, after the time that it names or after growing pauses.
Nothing that is fetched is ever executed.
"""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from hypersd.errors import UsageError, brief, os_words
from hypersd.hub_lock import Listing
from hypersd.reference import SCHEME, Reference
from hypersd.whole_files import written_whole

T = TypeVar("T")
TIMEOUT = 10.0  # seconds for one answer
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds, where the server names none
BUSY = (408, 429, 500, 502, 503, 504)
NOT_FOUND, TOO_MANY = 404, 429
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Unreachable(UsageError):
    """The server does not answer, or must not be asked."""


class NotFetched(UsageError):
    """A file of the hub that a run would fetch first."""


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache_folder() -> Path:
    """Where the hub's files are kept: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(ref: Reference, revision: str | None) -> Path | None:
    """A file in the hub's cache, whatever its bytes."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(ref.repo, ref.path, revision=revision, cache_dir=cache_folder())
    return Path(found) if isinstance(found, str) else None


@cache
def listing(repo: str, revision: str | None) -> Listing:
    """A repository's files, asked once in a process. Raises UsageError where access is refused;
    Unreachable."""
    from huggingface_hub import HfApi

    what = Reference(repo, revision)
    _check_online(f"{SCHEME}{repo}")
    ask = partial(HfApi().model_info, repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    info = patiently(what, ask)
    card = info.card_data
    licence = card.get("license") if card is not None else None
    sizes = {item.rfilename: int(item.size or 0) for item in info.siblings or ()}
    return Listing(str(info.sha), str(licence) if licence else None, sizes)


@cache
def ask_for(ref: Reference, commit: str) -> None:
    """Ask whether this user may download a file: a gated repository lists files that it does not
    give.

    Raises UsageError, Unreachable.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(ref.repo, ref.path, revision=commit)
    patiently(ref, partial(get_hf_file_metadata, url, timeout=TIMEOUT))


def download(ref: Reference, revision: str | None, *, again: bool = False) -> Path:
    """A file, fetched into the hub's cache. again: in place of the one there.

    Raises UsageError, Unreachable.
    """
    from huggingface_hub import hf_hub_download

    what = partial(
        hf_hub_download, ref.repo, ref.path, revision=revision, force_download=again,
        cache_dir=cache_folder(),
    )  # fmt: skip
    return Path(patiently(ref, what))


def size_of(url: str) -> int | None:
    """Bytes of a file on the web, None where it is not said. Raises UsageError, Unreachable."""
    from huggingface_hub import get_session

    _check_online(url)

    def ask() -> int | None:
        answer = get_session().head(url, follow_redirects=True, timeout=TIMEOUT)
        answer.raise_for_status()
        found = answer.headers.get("Content-Length")
        return None if found is None else int(found)

    return patiently(url, ask)


def read_address(url: str) -> bytes:
    """The content of a small file on the web. Raises UsageError, Unreachable."""
    from huggingface_hub import get_session

    _check_online(url)

    def ask() -> bytes:
        answer = get_session().get(url, follow_redirects=True, timeout=TIMEOUT)
        answer.raise_for_status()
        return bytes(answer.content)

    return patiently(url, ask)


def fetch_address(url: str, path: Path, check: Callable[[Path], None]) -> None:
    """Fetch a file of the web; it is at `path` only once `check` raised nothing for it.

    Raises UsageError, Unreachable, and what `check` raises.
    """
    from huggingface_hub.file_download import http_get

    _check_online(url)

    def fetch(beside: Path) -> None:
        with beside.open("wb") as file:
            http_get(url, file, displayed_filename=path.name)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            patiently(url, partial(fetch, beside))
            check(beside)
    except OSError as error:
        raise UsageError(f"{path}: {os_words(error)}") from None


def _check_online(what: str) -> None:
    if offline():
        raise Unreachable(f"{what}: not on this machine, and HF_HUB_OFFLINE is set")


def remove(path: Path) -> None:
    """Take a file out of the hub's cache, its bytes too."""
    for one in (path.resolve(), path):
        one.unlink(missing_ok=True)


def patiently(what: Reference | str, ask: Callable[[], T]) -> T:
    """The result of `ask`, asked again where the server is busy or slow. Raises UsageError; at once
    where there is no network."""
    for pause in (*PAUSES, None):
        try:
            return ask()
        except UsageError:
            raise
        except Exception as error:  # which HTTP library the client uses changes with its version
            cause = _cause(error)
            wait = None if pause is None else _pause(cause, pause)
            if wait is None:
                raise _said(what, cause) from None
            print(f"{what}: {_status(cause) or 'no answer yet'}; asking again in {wait:g} s",
                  file=sys.stderr)  # fmt: skip
        time.sleep(wait)
    raise AssertionError("the last pause is None")


def _cause(error: Exception) -> Exception:
    """Why a download failed, where its error only says that the file is missing."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    inner = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    return inner if isinstance(inner, Exception) else error


def _status(error: Exception) -> int | None:
    answer = getattr(error, "response", None)
    return getattr(answer, "status_code", None)


def _pause(error: Exception, pause: float) -> float | None:
    """Seconds until the next try; None where another try is useless."""
    if _status(error) in BUSY:
        named = getattr(error, "response").headers.get("Retry-After", "")  # noqa: B009
        return float(named) if named.isdecimal() else pause
    slow = type(error).__name__ in ("ReadTimeout", "RemoteProtocolError", "ReadError")
    return pause if slow else None


def _said(what: Reference | str, error: Exception) -> UsageError:
    """An error in one line, which says whether network, gate, quota or disk caused it."""
    from huggingface_hub import errors

    of_hub = isinstance(what, Reference)
    page = f"https://huggingface.co/{what.repo}" if isinstance(what, Reference) else what
    kinds: dict[type[Exception], str] = {
        errors.GatedRepoError: f"gated: accept its licence at {page} and set HF_TOKEN",
        errors.RepositoryNotFoundError: "no such repository, or it is private: set HF_TOKEN",
        errors.RevisionNotFoundError: f"has no such revision; see {page}/commits",
    }
    known = next((said for kind, said in kinds.items() if isinstance(error, kind)), None)
    status, words = _status(error), brief(error, 160)
    if known is not None:
        return UsageError(f"{what}: {known}")
    if status in (401, 403):
        token = ": HF_TOKEN gives no access to it" if of_hub else ""
        return UsageError(f"{what}: no access ({status}){token}")
    if status == NOT_FOUND and not of_hub:
        return UsageError(f"{what}: not found ({status})")
    if status == TOO_MANY:
        token = ", or with HF_TOKEN" if of_hub else ""
        return Unreachable(f"{what}: too many requests ({status}), also after waiting; "
                           f"try again later{token}")  # fmt: skip
    if status in BUSY:
        return Unreachable(f"{what}: the server failed ({status}); try again later")
    if isinstance(error, OSError) and error.errno is not None and not _of_network(error):
        return UsageError(f"{what}: {_disk(error)}")
    if status is not None or isinstance(error, ValueError):
        return UsageError(f"{what}: {words}")
    who = "the hub" if of_hub else "it"
    return Unreachable(f"{what}: {who} cannot be reached ({words})")


def _of_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError)


def _disk(error: OSError) -> str:
    place = error.filename or cache_folder()
    if error.errno not in NO_ROOM:
        return f"{place}: {error.strerror}"
    free = shutil.disk_usage(cache_folder()).free if cache_folder().exists() else 0
    return (f"the disk is full at {cache_folder()} ({free / 1e9:.1f} GB free); HF_HOME names "
            "another place")  # fmt: skip
