"""What is known of published checkpoints before the hub was asked: `suites/hub/published.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from bench import hub
from bench.hub import Reference
from hypersd.hub import SCHEME

PATH = Path(__file__).resolve().parent.parent / "suites" / "hub" / "published.yaml"


@cache
def _entries() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return found


def licence(repo: str) -> str | None:
    """The licence that a repository's card names; None where it is not in the catalogue."""
    found = _entries().get(repo, {}).get("licence")
    return None if found is None else str(found)


def family(repo: str) -> str | None:
    """The shape of a base model, one of `random_weights.FAMILIES`, or None where not known."""
    found = _entries().get(repo, {}).get("family")
    return None if found is None else str(found)


def of_source(source: str) -> tuple[int | None, str]:
    """About how many bytes an evaluator's file is to download (None where not known), and its
    licence. source: `hf://owner/name/file`, or an address."""
    there = hub.reference(source) if source.startswith(SCHEME) else None
    if there is not None:
        return size(there, "fp32"), licence(there.repo) or "unknown"
    found = _entries().get(source, {})
    return None if found.get("gb") is None else round(found["gb"] * 1e9), "unknown"


def size(reference: Reference, precision: str) -> int | None:
    """About how many bytes a reference is to download; None where not known.

    precision: of a whole pipeline, which is published at fp32 and often at fp16.
    """
    sizes = _entries().get(reference.repo, {}).get("gb", {})
    name = reference.path or ("fp16" if precision == "fp16" else "fp32")
    return None if sizes.get(name) is None else round(sizes[name] * 1e9)
