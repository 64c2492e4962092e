"""What a run's records say: contestants, speed, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.contestants import source
from bench.results.keys import Key
from bench.results.summary import Contestant, SecondsPerImage, TriedBatch
from bench.run.cache import Store
from bench.run.plan import Plan
from bench.run.rows_left import Planned

Records = Sequence[tuple[tuple[Key, ...], Mapping[str, Any]]]


def contestant(plan: Plan, planned: Planned, records: Records) -> Contestant:
    """A row of the result, its metrics still to come."""
    row, settings = planned.row, planned.row.settings
    trained = _trained(planned)
    peaks = [record["peak_bytes"] for _, record in records if record.get("timings")]
    return Contestant(
        name=row.name,
        method=settings.method,
        steps=row.steps,
        nfe=row.nfe,
        identity=planned.identity,
        n=len(plan.keys),
        seeds=list(plan.suite.seeds),
        licence=source.licence(settings, trained),
        seconds_per_image=speed([r for _, r in records]),
        peak_memory_bytes=max((peak for peak in peaks if peak), default=None),
        training=source.training(settings, trained),
        precomputed=planned.shipped is not None,
        seconds_alone=speed([{"timings": record.get("alone", ())} for _, record in records]),
        tried_batches=_tried(records),
    )


def _tried(records: Records) -> list[TriedBatch]:
    """What the first slice that was drawn with `batch=best` remembers."""
    found = (record["tried"] for _, record in records if record.get("tried"))
    return [TriedBatch(**one) for one in next(found, [])]


def _trained(planned: Planned) -> Path | None:
    if planned.training is None:
        return None
    return source.trained_weights(planned.training / "final")


def conditions(plan: Plan) -> dict[str, Any]:
    """What of the protocol a published table can be held against."""
    suite = plan.suite
    return {
        "base": suite.contestants[0].base,
        "prompts": plan.prompts.name,
        "prompts_revision": plan.prompts.revision,
        "n": len({key.index for key in plan.keys}),
        "seeds": list(suite.seeds),
        "size": suite.size,
        "sizes": {row.name: row.settings.size for row in suite.rows if row.settings.size},
        "preset": suite.preset or None,
    }


def speed(records: Sequence[Mapping[str, Any]]) -> SecondsPerImage | None:
    """Seconds per image over all batches of the commonest size; None where nothing was drawn.

    Images from the cache count with the time that their making took.
    """
    timings = [timing for record in records for timing in record.get("timings", ())]
    if not timings:
        return None
    sizes = [timing["n"] for timing in timings]
    batch = max(set(sizes), key=lambda n: (sizes.count(n), n))
    same = [timing for timing in timings if timing["n"] == batch]
    names = ("text", "unet", "vae", "rest")  # older records have no rest: it is in the others
    stages = {s: np.array([timing.get(s, 0.0) for timing in same]) / batch for s in names}
    total = sum(stages.values())
    medians = {stage: float(np.median(values)) for stage, values in stages.items()}
    return SecondsPerImage(
        batch=batch,
        median=float(np.median(total)),
        p90=float(np.percentile(total, 90)),
        **medians,
    )


def costs(rows: Sequence[tuple[Planned, Records]]) -> dict[str, float]:
    """Seconds per network evaluation and per decoded image, as measured."""
    unet, vae = [], []
    for planned, records in rows:
        found = speed([record for _, record in records])
        if found is not None and planned.row.nfe:
            unet.append(found.unet / planned.row.nfe)
            vae.append(found.vae + found.text + found.rest)
    if not unet:
        return {}
    return {"unet": float(np.median(unet)), "vae": float(np.median(vae))}


def ledger(plan: Plan, rows: Sequence[tuple[Planned, Records]], store: Store) -> dict[str, Any]:
    """What went wrong or was left out; an empty list means that nothing of the kind happened."""
    wanted = set(plan.keys)
    found: dict[str, Any] = {
        "not_finite": [], "black": [], "truncated_prompts": [],
        "damaged_and_made_again": store.damaged, "left_out": plan.notes,
    }  # fmt: skip
    words = {"broken": "not_finite", "black": "black", "truncated": "truncated_prompts"}
    for planned, records in rows:
        for keys, record in records:
            for word, place in words.items():
                named = [keys[i] for i in record.get(word, ()) if keys[i] in wanted]
                found[place] += [_named(planned, key) for key in named]
    found["black"] = [name for name in found["black"] if name not in found["not_finite"]]
    return found


def _named(planned: Planned, key: Key) -> str:
    return f"{planned.row.name}: prompt {key.index}, seed {key.seed}"
