"""What a plan found missing from this machine, fetched; then the plan is made again."""

from __future__ import annotations

from rich.console import Console

from bench.contestants import files
from bench.hub import HUB
from bench.run.judges import judge
from bench.run.plan import Plan, make


def fetched(plan: Plan, out: Console) -> Plan:
    """The plan with its downloads here, so that it knows its images. Raises UsageError."""
    for one in plan.needs.to_fetch:
        out.print(f"fetching {one.reference}", highlight=False, soft_wrap=True)
        ref = one.reference
        if ref.path:
            HUB.file(ref)
        else:
            HUB.pipeline(ref, files.wanted_variant(one.precision))
    for name in plan.suite.metrics:
        _fetch_evaluator(plan, name, out)
    return make(plan.suite, plan.options)


def _fetch_evaluator(plan: Plan, name: str, out: Console) -> None:
    """Fetch what a metric needs, one file after the other, as each comes to be known."""
    from bench.metrics import weights

    before = None
    while True:
        try:
            judge(plan.suite, name)
            return
        except weights.NotHere as error:
            if str(error) == before:
                raise
            before = str(error)
            out.print(f"fetching {before}", highlight=False, soft_wrap=True)
            error.fetch()
