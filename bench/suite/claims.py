"""Claims about methods, as a suite makes them; `bench.statistics.claims_verdicts` judges them.

    claims:
      - {a: tcd, is: better, than: lcm, metric: fid, steps: 4}
      - {a: tscd, is: not_worse, than: teacher, metric: faithful}

`a` and `than` name methods; every contestant of that method at the step count is one training of
it (give several `method: tcd` contestants, trained with other seeds). Without `steps` a claim is
made at each step count that both have. "better": the difference is not 0 and points the right way;
"not_worse": a loss of the margin is ruled out; "equivalent": a difference of the margin is, either
way. p values of all claims of a run are adjusted together (Holm).

A claim about a method needs three trainings of it. With fewer the verdict is "undecided" and the
figures speak of these weights; only what is not trained for the comparison (the teacher) may stand
as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.errors import UsageError
from bench.statistics.claims import Stated
from bench.suite import fields

RELATIONS = ("better", "not_worse", "equivalent")
KEYS = ("a", "is", "than", "metric", "steps")


def read(value: Any, metrics: Sequence[str]) -> tuple[Stated, ...]:
    """The claims of a suite. Raises UsageError for anything else than a list of such mappings."""
    if not isinstance(value, list):
        raise UsageError("claims: must be a list of {a, is, than, metric, steps}")
    return tuple(_read_one(f"claims[{i}]", item, metrics) for i, item in enumerate(value))


def _read_one(where: str, value: Any, metrics: Sequence[str]) -> Stated:
    given = fields.mapping(where, value, KEYS)
    for key in ("a", "is", "than", "metric"):
        if given.get(key) is None:
            raise UsageError(f"{where}: key {key!r} is missing")
    steps = given.get("steps")
    return Stated(
        a=fields.text(f"{where}.a", given["a"]),
        relation=fields.choice(f"{where}.is", given["is"], RELATIONS),
        b=fields.text(f"{where}.than", given["than"]),
        metric=fields.choice(f"{where}.metric", given["metric"], metrics),
        steps=None if steps is None else fields.integer(f"{where}.steps", steps, 1),
    )
