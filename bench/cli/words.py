"""A command line in words -> a `Command`, checked: which task, on what, with which options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UsageError, nearest
from hypersd import validation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from bench.check.task import CheckOptions
    from bench.report.write import ReportOptions
    from bench.run.options import PlanOptions, RunOptions
    from bench.study.task import StudyOptions
    from bench.suite.sampler_grid import Grid
    from bench.suite.suite import Suite

T = TypeVar("T", bound="DataclassInstance")
TASKS = ("run", "plan", "report", "check", "study", "sensitivity")
RUN = ("limit", "device", "precomputed", "batch", "random_weights", "compile", "references",
       "pictures", "rounds", "offload")  # fmt: skip
CHECK = ("baseline", "update", "check", "decide", "most")  # and `pictures`, where it is an address
REPORT = ("mixed_model", "figures", "tracker", "leaderboard")
STUDY = ("port", "host", "token", "votes", "simulate")
PLAN = ("strict",)
SENSITIVITY = ("contestant", "schedulers", "etas", "guidances", "shifts")
# Keys beside those of a suite and of paths.
WORDS = ("task", *RUN, *PLAN, *CHECK, *REPORT, *STUDY, *SENSITIVITY)
GOES_WITH = {
    "run": ("report", "check", "study"),
    "runs": ("report",),
    **dict.fromkeys(PLAN, ("plan",)),
    **dict.fromkeys(SENSITIVITY, ("sensitivity",)),
    **dict.fromkeys(CHECK, ("check",)),
    **dict.fromkeys(REPORT, ("report",)),
    **dict.fromkeys(("import", *STUDY), ("study",)),
}
BATCHES = ("auto", "best")  # or a number
PLACES = {"import": "imported"}  # fields whose names are not their keys


@dataclass(frozen=True)
class Command:
    """A parsed command line.

    suite: None where `run=` (finished) or `runs=` (together) names finished runs.  options: of a
    run.  strict: a plan that lacks something is an error.  check, report, study: of that task.
    """

    task: str
    suite: Suite | None
    options: RunOptions
    strict: bool = False
    finished: Path | None = None
    together: tuple[Path, ...] = ()
    check: CheckOptions | None = None
    report: ReportOptions | None = None
    study: StudyOptions | None = None
    grid: Grid | None = None


def read(words: list[str]) -> Command:
    """A command line, checked. Raises UsageError for anything that is not valid."""
    from bench.suite import compose, suite

    paths, overrides = compose.split(words, WORDS)
    name = paths.get("suite")
    if name is None and not {"run", "runs"} & paths.keys() and "task=study" not in overrides:
        raise UsageError(f"suite=NAME is missing; there are {', '.join(suite.names())}")
    keys = {compose.key(override) for override in overrides} | paths.keys()
    return command(name, compose.compose(name, overrides), paths, keys)


def command(
    name: str | None, values: dict[str, Any], paths: Mapping[str, str], keys: AbstractSet[str]
) -> Command:
    """What is asked for, checked.

    name: of the suite, or None.  values: its keys, with those of the task beside them.  paths: by
    the keys of `compose.PATHS`.  keys: those that were given.  Raises UsageError.
    """
    from bench.suite import compose

    task = _task(str(values.get("task", "run")), keys)
    own = {key: values.pop(key) for key in WORDS if key in values}
    if name is None:
        for key in values:
            raise UsageError(f"{key}=...: is a key of a suite; give suite=NAME as well")
    places = {PLACES.get(key, key): Path(path) for key, path in paths.items()}
    options = _run_options(_of_run(task, own), {} if task == "study" else places)
    return Command(
        task=task,
        suite=None if name is None else _suite(Path(name).stem, values, options),
        options=options,
        strict=task == "plan" and _plan_options(own).strict,
        finished=places.get("run"),
        together=compose.folders(paths["runs"]) if "runs" in paths else (),
        check=_check_options(own) if task == "check" else None,
        report=_report_options(own) if task == "report" else None,
        study=_study_options(own, places) if task == "study" else None,
        grid=_grid(own) if task == "sensitivity" else None,
    )


def _task(task: str, keys: AbstractSet[str]) -> str:
    """The task, where all keys go with it."""
    if task not in TASKS:
        raise UsageError(f"task={task}: {nearest(task, TASKS)}")
    for key in sorted(keys & GOES_WITH.keys()):
        if task not in GOES_WITH[key]:
            valid = " or ".join(f"task={name}" for name in GOES_WITH[key])
            raise UsageError(f"{key}: goes with {valid}")
    if task == "study":
        _study_keys(keys)
    if task == "check" and "baseline" not in keys:
        from bench.check.baseline import names

        there = f"there are {', '.join(names())}, or" if names() else "there is none yet, but give"
        raise UsageError(f"baseline=NAME is missing; {there} a folder with a slash")
    return task


def _study_keys(keys: AbstractSet[str]) -> None:
    """Refuse a study without a run, of more than a run, and with two things to do at once."""
    if "run" not in keys:
        raise UsageError("run=DIR is missing: task=study needs a finished run")
    for other in sorted(keys - {"task", "run", "export", "import", *STUDY}):
        raise UsageError(f"{other}: does not go with task=study")
    doing = [key for key in ("import", "export", "simulate") if key in keys]
    if len(doing) > 1:
        raise UsageError(f"{doing[0]}= and {doing[1]}=: give one at a time")


def _of_run(task: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The words without an address in `pictures`, which is a check's. Raises UsageError."""
    from bench.run.options import PICTURES

    given = own.get("pictures", "all")
    if given not in PICTURES and task != "check":
        said = nearest(str(given), PICTURES)
        raise UsageError(f"pictures={given}: {said} (an address goes with task=check)")
    return {key: value for key, value in own.items() if key != "pictures" or value in PICTURES}


def _run_options(own: Mapping[str, Any], places: Mapping[str, Path]) -> RunOptions:
    from bench.run.options import RunOptions

    batch, best = own.get("batch"), False
    if isinstance(batch, str):
        if batch not in BATCHES:
            raise UsageError(f"batch={batch}: {nearest(batch, BATCHES)}")
        batch, best = None, batch == "best"
    options = _options(RunOptions, RUN, {**own, "batch": batch}, places)
    options = replace(options, best_batch=best)
    if options.rounds in (1, 2):
        raise UsageError(f"rounds={options.rounds}: no median yet; valid: 0, or 3 to 99")
    if options.images is not None and not options.images.is_dir():
        raise UsageError(f"images={options.images}: no such folder")
    if options.export is not None and options.limit is not None:
        raise UsageError(f"export={options.export}: needs the whole prompt set; leave limit out")
    return options


def _plan_options(own: Mapping[str, Any]) -> PlanOptions:
    from bench.run.options import PlanOptions

    return _options(PlanOptions, PLAN, own, {})


def _check_options(own: Mapping[str, Any]) -> CheckOptions:
    from bench.check.task import CheckOptions
    from bench.run.options import PICTURES

    keys = CHECK if own.get("pictures") in PICTURES else (*CHECK, "pictures")
    found: CheckOptions = _options(CheckOptions, keys, own, {})
    if found.most is not None and not found.decide:
        raise UsageError(f"most={found.most}: goes with decide=true")
    if found.decide and found.update:
        raise UsageError("decide=true: judges against a baseline; leave update out")
    if found.decide and found.check == "training":
        raise UsageError("decide=true: more prompts say nothing of other trainings; valid: "
                         "check=weights")  # fmt: skip
    return found


def _report_options(own: Mapping[str, Any]) -> ReportOptions:
    from bench.report.write import ReportOptions

    return _options(ReportOptions, REPORT, own, {})


def _study_options(own: Mapping[str, Any], places: Mapping[str, Path]) -> StudyOptions:
    from bench.study.task import StudyOptions

    return _options(StudyOptions, STUDY, own, places)


def _grid(own: Mapping[str, Any]) -> Grid:
    from bench.suite.sampler_grid import Grid

    return _options(Grid, SENSITIVITY, own, {})


def _options(
    kind: type[T], keys: Iterable[str], own: Mapping[str, Any], places: Mapping[str, Path]
) -> T:
    """The options among the words, and those of the paths that are fields of it as they stand."""
    given = validation.read(kind, {key: own[key] for key in keys if key in own})
    names = {field.name for field in fields(kind)}
    return replace(given, **{name: path for name, path in places.items() if name in names})


def _suite(name: str, values: dict[str, Any], options: RunOptions) -> Suite:
    from bench.suite import suite

    found = suite.read(name, values, options.images)
    found = suite.with_compiled_networks(found) if options.compiled else found
    return suite.with_random_weights(found) if options.random_weights else found
