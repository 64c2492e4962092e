"""Prints a plan: what a run will do, download and cost, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.contestants import schedulers
from bench.results import places
from bench.run import costs, picture_bytes
from bench.run.downloads import Download, Downloads, known_bytes
from bench.run.hardware import GB, Fit
from bench.run.metric_identities import Evaluator
from bench.run.photographs import Photographs
from bench.run.plan import Plan
from bench.run.rows_left import Planned
from bench.run.timing_plan import TOO_DEAR, turns
from bench.run.wanted_references import ToMake
from bench.statistics.printed import duration
from bench.suite import prompt_pictures

DAY = 86_400.0  # seconds
LONG = 2 * DAY
TRY = "limit=4"  # beside the fewest steps of the suite
COLUMNS = (
    "to make: images to draw. cached: drawn by an earlier run. shipped: rows whose features come "
    "with the project; a few are drawn to be shown. evaluations: of the network. first: what must "
    "be fetched or trained before"
)


def show_plan(plan: Plan, out: Console) -> None:
    """Print what a run will do, what it will cost, and what is missing."""
    out.print(_table(plan))
    total = sum(planned.evaluations for planned in plan.rows)
    images = sum(planned.images for planned in plan.rows)
    kept, pictures = "", plan.options.pictures
    if pictures != "all":
        kept = f" (pictures={pictures}: another metric draws the others again)"
    size = picture_bytes.in_cache(plan.suite, plan.rows, pictures)
    out.print(COLUMNS, highlight=False, soft_wrap=True)
    out.print(
        f"{images:,} images to make, {total:,} network evaluations, "
        f"about {_takes(plan)}, {size / 1e6:.0f} MB of cache{kept}",
        highlight=False,
        soft_wrap=True,
    )
    for line in [*_timing(plan), *_checklist(plan)]:
        out.print(line, highlight=False, soft_wrap=True, markup=False)
    folder = plan.out if plan.is_known else "known after the downloads"
    out.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
    for note in [*plan.notes, *plan.prompts.notes]:
        out.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    for line in plan.unlike_cards:
        out.print(f"drawn unlike its card: {line}", highlight=False, soft_wrap=True, markup=False)
    for line in plan.own_calls:
        out.print(f"by its own call: {line}", highlight=False, soft_wrap=True, markup=False)
    for line in plan.settings_sources:
        out.print(f"settings of {line}", highlight=False, soft_wrap=True, markup=False)
    for fault in dict.fromkeys(planned.fault for planned in plan.rows if planned.fault):
        out.print(f"left out: {fault}", highlight=False, soft_wrap=True, markup=False)
    for clause in plan.missing:
        out.print(f"missing: {clause}", highlight=False, soft_wrap=True, markup=False)


def _timing(plan: Plan) -> Iterator[str]:
    """How contestants will be timed in turns, and which will not."""
    found = turns(plan)
    drawn = sum(one.nfe is not None for one in plan.sound)
    if found.rounds:
        counts = sorted(set(found.rounds.values()))
        of = " or ".join(str(count) for count in counts)
        yield (f"timing: {len(found.rounds)} contestants in turns, {of} rounds of {found.batch} "
               f"images, about {duration(found.seconds)}")  # fmt: skip
    if plan.options.rounds != 0 and len(found.rounds) < drawn:
        yield (f"timing: {drawn - len(found.rounds)} contestants are not timed in turns, since an "
               f"image takes more than {TOO_DEAR:.0f} seconds; rounds=7 does it")  # fmt: skip


def _table(plan: Plan) -> Table:
    suite, limit = plan.suite, plan.options.limit
    quick = f", limit={limit}: a quick run" if limit else ""
    table = Table(title=f"{escape(suite.title)}: {len(plan.keys)} images per contestant{quick}",
                  title_justify="left")  # fmt: skip
    table.add_column("contestant")
    table.add_column("drawn with")
    for name in ("to make", "cached", "shipped", "evaluations"):
        table.add_column(name, justify="right")
    table.add_column("first")
    mixed = len({planned.row.settings.numbers for planned in plan.rows if planned.row.steps}) > 1
    for planned in plan.rows:
        how = schedulers.described(planned.row.settings)
        if mixed and planned.row.steps:
            how += f", {planned.row.settings.numbers}"
        table.add_row(planned.row.name, how, *_cells(planned, len(plan.keys)))
    return table


def _cells(planned: Planned, scored: int) -> tuple[str, ...]:
    if planned.fault:
        return ("", "", "", "", "left out")
    if not planned.identity and not planned.images:
        return ("", "", "", "", "something is missing")
    shipped = scored if planned.shipped is not None else 0
    cached = sum(map(len, planned.slices)) - planned.images if not shipped else 0
    first = "" if planned.trained else f"train {planned.row.settings.weights}"
    first = first if planned.identity else "fetch"
    about = "about " if planned.nfe and planned.nfe.is_estimate else ""
    numbers = (planned.images, cached, shipped)
    evaluations = f"{about}{planned.evaluations:,}" if planned.evaluations else ""
    return (*(f"{n:,}" if n else "" for n in numbers), evaluations, first)


def _checklist(plan: Plan) -> Iterator[str]:
    """Downloads, licences, disk and memory of a suite on published checkpoints, line by line."""
    if not plan.suite.published:
        return
    found, fit = plan.downloads, plan.fit
    yield from _models(found)
    yield from _evaluators(found.evaluators)
    for some in found.pictures:
        yield from _pictures(some)
    for one in plan.references:
        yield _reference(one)
    licences = sorted({m.licence for m in found.models} | {e.licence for e in found.evaluators})
    yield f"licences: {', '.join(licences) or 'none'}"
    yield f"disk: {fit.disk / GB:.1f} GB"
    yield _memory(fit)
    if _is_too_long(plan):
        yield f"hint: for a first try {TRY} steps=[{min(plan.suite.steps)}]"


def _models(downloads: Downloads) -> Iterator[str]:
    to_fetch = downloads.to_fetch
    here = len(downloads.models) - len(to_fetch)
    yield (
        f"to download from the hub: {len(to_fetch)} of {len(downloads.models)}, "
        f"{_size_of(to_fetch)} ({here} here already)"
    )
    for one in downloads.models:
        yield f"  {one.reference}: {'here' if one.is_here else _size(one)}, {one.licence}"


def _evaluators(some: Sequence[Evaluator]) -> Iterator[str]:
    """The downloads of the metrics."""
    if not some:
        return
    yield f"to download for the metrics: {len(some)} files, {_size_of(some)}"
    for one in some:
        yield f"  {one.source}: {_size(one)}, {one.licence} ({', '.join(one.metrics)})"


def _pictures(some: Photographs) -> Iterator[str]:
    """The photographs of a prompt set to download, and their terms."""
    count, place = len(some.wanted), places.pictures()
    here = count - len(some.absent)
    yield (f"to download for the references: {len(some.absent):,} of {count:,} pictures of "
           f"{some.name}, about {some.size / GB:.2f} GB ({here:,} here already)")  # fmt: skip
    yield f"  {prompt_pictures.endpoint()}: {prompt_pictures.LICENCE}; into {place}"


def _reference(one: ToMake) -> str:
    """A reference that is made once and used by every later run."""
    drawn = one.drawn
    how = "" if drawn is None else (f" of {drawn.row.name} with seed {drawn.seed}, "
                                    f"{drawn.evaluations:,} network evaluations")  # fmt: skip
    return (f"reference to make: {one.name} for {', '.join(one.metrics)} ({one.network.label}), "
            f"{one.images:,} pictures{how}")  # fmt: skip


def _size(one: Download | Evaluator) -> str:
    return "?" if one.size is None else f"{one.size / GB:.2f} GB"


def _size_of(some: Sequence[Download | Evaluator]) -> str:
    unknown = sum(one.size is None for one in some)
    more = f" and {unknown} of unknown size" if unknown else ""
    return f"about {known_bytes(some) / GB:.1f} GB{more}"


def _takes(plan: Plan) -> str:
    """How long a run takes; where that is days on a CPU, on a GPU first."""
    if not _is_too_long(plan):
        return duration(plan.seconds)
    on_gpu = duration(plan.seconds / costs.CPU)
    return f"{on_gpu} on a GPU of a data centre ({duration(plan.seconds)} on a CPU)"


def _is_too_long(plan: Plan) -> bool:
    """Whether it would be days on a CPU, and a GPU is none of its devices."""
    device = plan.fit.device
    is_cpu = device is None or device.kind == "cpu"
    return plan.suite.published and is_cpu and plan.seconds > LONG


def _memory(fit: Fit) -> str:
    """Memory of models, a batch, and the metrics' networks."""
    there = "no device"
    if fit.device is not None:
        name = "this machine" if fit.device.kind == "cpu" else fit.device.name
        there = f"{name} has {fit.device.memory / GB:.0f} GB"
    if fit.memory is None:
        return f"memory: not known; {there}"
    pictures = f"{fit.batch} pictures at once" if fit.batch > 1 else "one picture at once"
    judges = "" if fit.resident else ", the metrics' networks one at a time"
    return f"memory: about {fit.memory / GB:.0f} GB with {pictures}{judges}; {there}"
