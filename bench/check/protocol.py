"""Whether two runs may be compared, and what changed in their contestants, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bench.results.run_folder import RunFolder

ENVIRONMENT = ("commit", "device", "hardware", "threads", "precision", "batch", "python")
LONGEST = 40  # characters of a value that is shown
HASH = re.compile(r"[0-9a-f]{32,}(\+\w+)?")  # "+changes": a commit, and changed files


def differences(run: RunFolder, base: RunFolder) -> list[str]:
    """The differences of the protocols, a clause each; empty where numbers may be compared.

    The order of the prompts is no part of it: they are matched by text.
    """
    if run.summary.protocol == base.summary.protocol:
        return []
    found = [*_prompts(run, base)]
    for key in ("seeds", "size"):
        mine, theirs = run.resolved.get(key), base.resolved.get(key)
        if mine != theirs:
            found.append(f"{key} {_shown(theirs)} -> {_shown(mine)}")
    return [*found, *_metrics(run, base)]


def aligned(folder: RunFolder, like: RunFolder) -> dict[int, int]:
    """Prompt index in `folder` -> index of the same text in `like`.

    A text that comes several times is matched in its order of appearance. Texts that `like` lacks
    are left out (`differences` names them).
    """
    places: dict[str, list[int]] = {}
    for index, text in sorted(like.texts.items()):
        places.setdefault(text, []).append(index)
    found = {}
    for index, text in sorted(folder.texts.items()):
        if places.get(text):
            found[index] = places[text].pop(0)
    return found


def _prompts(run: RunFolder, base: RunFolder) -> Iterator[str]:
    mine, theirs = Counter(run.texts.values()), Counter(base.texts.values())
    if mine == theirs:
        return
    n = (sum(theirs.values()), sum(mine.values()))
    limits = [f.summary.limit for f in (base, run)]
    if n[0] != n[1]:
        cut = " (limit= cuts one of them)" if limits[0] != limits[1] else ""
        yield f"{n[0]:,} prompts -> {n[1]:,}{cut}"
    else:
        other = next(iter(mine - theirs))
        yield f"other prompts, for instance {_shown(other)!r}"


def _metrics(run: RunFolder, base: RunFolder) -> Iterator[str]:
    mine, theirs = _identities(run), _identities(base)
    for name in sorted({*mine, *theirs}):
        if name not in mine:
            yield f"metric {name} is gone"
        elif name not in theirs:
            yield f"metric {name} is new"
        elif mine[name] != theirs[name]:
            yield f"metric {name} has changed (network, preprocessing or reference)"


def _identities(folder: RunFolder) -> dict[str, str]:
    return {
        name: value.identity
        for contestant in folder.summary.contestants
        for name, value in contestant.metrics.items()
    }


def changes(run: RunFolder, base: RunFolder, name: str) -> list[str]:
    """The changes in a contestant, a clause each; empty for the same identity."""
    mine, theirs = run.summary.contestant(name), base.summary.contestant(name)
    if mine.identity == theirs.identity:
        return []
    before = dict(_flat(base.about.get("parts", {}).get(name)))
    after = dict(_flat(run.about.get("parts", {}).get(name)))
    found = [
        f"{key} {_shown(before.get(key, 'none'))} -> {_shown(after.get(key, 'none'))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    return found or [f"identity {_shown(theirs.identity)} -> {_shown(mine.identity)}"]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`sampling.eta` and so on; the parts of a list are joined."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        yield prefix or "source", " ".join(_shown(item) for item in value)
    elif value is not None or prefix:
        yield prefix or "source", value


def _shown(value: Any) -> str:
    """A value in few characters; a hash by its first eight, with what is said after it."""
    words = " ".join(str(value).split())
    if match := HASH.fullmatch(words):
        return f"{words[:8]}{match[1] or ''}"
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."


def environment(run: RunFolder, base: RunFolder) -> list[str]:
    """What differs in where and by what the two were made: versions, device, commit."""
    mine, theirs = run.summary.environment, base.summary.environment
    pairs = [(key, theirs.get(key), mine.get(key)) for key in ENVIRONMENT]
    versions = [e.get("versions") for e in (theirs, mine)]
    old, new = (v if isinstance(v, dict) else {} for v in versions)
    pairs += [(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    return [f"{key} {_shown(a)} -> {_shown(b)}" for key, a, b in pairs if a != b]
