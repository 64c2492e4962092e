"""The hub as suites use it: pinned by the shipped `suites/hub/lock.json`, then by the first fetch
of this machine; `suites/hub/published.yaml` has sizes and licences known without asking."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypersd.hub import Hub, machine_lock, wanted_variant
from hypersd.hub_lock import Lock
from hypersd.package_data import packaged
from hypersd.reference import SCHEME, Reference, reference

FOLDER = packaged("bench", "suites") / "hub"
HUB = Hub(Lock(machine_lock(), FOLDER / "lock.json"))
PUBLISHED = FOLDER / "published.yaml"


@cache
def _entries() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return found


def licence(ref: Reference) -> str | None:
    """The licence that a repository's card names, or of one file where that has another; None
    before it was asked."""
    entry = _entries().get(ref.repo, {})
    found = entry.get("licence_of", {}).get(ref.path) or entry.get("licence")
    return HUB.lock.licence(ref) if found is None else str(found)


def family(repo: str) -> str | None:
    """The kind of a base model: one of `hypersd.bases.FAMILIES`, another word for one that draws by
    its own call, or None where not known."""
    found = _entries().get(repo, {}).get("family")
    return None if found is None else str(found)


def takes_guidance(repo: str) -> bool:
    """Whether the network of a base model is known to take the guidance as an input."""
    return bool(_entries().get(repo, {}).get("guidance") == "input")


def of_source(source: str) -> tuple[int | None, str]:
    """About how many bytes an evaluator's file is to download (None where not known), and its
    licence. source: `hf://owner/name/file`, or an address."""
    there = reference(source) if source.startswith(SCHEME) else None
    if there is not None:
        return size(there, "fp32"), licence(there) or "unknown"
    found = _entries().get(source, {})
    return None if found.get("gb") is None else round(found["gb"] * 1e9), "unknown"


def size(ref: Reference, precision: str) -> int | None:
    """About how many bytes a reference is to download; None where not known.

    precision: of a whole pipeline, which is published at fp32 and often at fp16.
    """
    sizes = _entries().get(ref.repo, {}).get("gb", {})
    name = ref.path or wanted_variant(precision) or "fp32"
    return None if sizes.get(name) is None else round(sizes[name] * 1e9)
