"""`python bench.py suite=NAME|PATH [task=run|plan|...] [key=value ...]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UNEXPECTED, UsageError, in_a_line, nearest, unexpected
from bench.results.command import CONSOLE, command_name
from bench.run import processes
from hypersd import validation
from hypersd.command_line import print_anything, version_words

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

    from bench.check.task import CheckOptions
    from bench.report.write import ReportOptions
    from bench.results.summary import Summary
    from bench.run.options import PlanOptions, RunOptions
    from bench.run.plan import Plan
    from bench.study.task import StudyOptions
    from bench.suite.sampler_grid import Grid
    from bench.suite.suite import Suite

T = TypeVar("T", bound="DataclassInstance")
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

HELP = """\
usage: {command} suite=NAME|PATH [task=run|plan|report|check|study|sensitivity] [key=value ...]
       {command} -m key=A,B ...   a sweep: one run per combination
       torchrun --nproc-per-node N -m bench ...   N processes share one run, a GPU each
       {command} --version

Makes images with every contestant of a suite, scores them and writes a report.

  suite=NAME|PATH     {suites}, or a YAML file
  task=run            make what is missing, score, report (the default)
  task=plan           print what a run will do, what it costs and what is missing; make nothing
  task=report         write the report of a finished run again (run=DIR, or the run's own words),
                      or one of several runs (runs=[DIR,DIR]); makes no images
  task=check          compare a finished run with a baseline (baseline=NAME|DIR)
  task=study          let people choose between pictures of a finished run (run=DIR), blindly
  task=sensitivity    draw one contestant by a grid of samplers (contestant=NAME): best and worst
                      cell beside the recommended one

  out=DIR             run folder; default runs/<suite>-<identity>, so the same command resumes
  cache=DIR           images and features that all runs share; default runs/cache
  limit=N             only the first N prompts; the report is marked as a quick run
  device=DEVICE       auto, cpu, cuda or mps
  images=DIR          one more contestant: a folder of images (00000.png ...)
  precomputed=false   make shipped rows (teacher, anchors) again instead of reading their features
  batch=N|best        images per batch; default by device; best: search the fastest per contestant
  random_weights=true measure seconds and memory with random weights, without a download;
                      the report is marked
  compile=true        run every UNet through torch.compile; adds minutes per contestant, and
                      images are cached separately (rounding differs)
  references=teacher  draw the teacher's pictures once with another seed, as the reference of
                      fid_teacher; costs as much as the teacher's row
  pictures=shown|none keep only the first 100 pictures of each contestant (for the report), or
                      none; scores are the same, but a metric added later draws again
  rounds=N            time contestants in turns for N rounds, after drawing; default 7, fewer where
                      images take seconds (the plan says how many); 0: no timing
  offload=model|sequential  keep parts, or single modules, of FLUX and others that draw by their own
                      call off the device while others work: less memory, more seconds
  vae=DIR|hf://...    decode by another VAE; madebyollin/sdxl-vae-fp16-fix runs in fp16
  vae_precision=bf16  precision of the VAE; SDXL's own overflows in fp16 and runs in fp32
  export=DIR          write this run's features as shipped ones (for maintainers)

With task=plan:
  strict=true         exit code 2 where something is missing, 0 where all is here

With task=report run=DIR:
  figures=true        write charts (SVG) and a sheet of pictures (PNG) into figures/, too
  mixed_model=true    add a mixed model of the votes of its preference study
  tracker=NAME        give the run to tensorboard, wandb, mlflow or another that accelerate knows

With task=report runs=[DIR,DIR], or runs=[DIR/*] for every finished run there:
  leaderboard=true    one page of many runs, of any protocols: a history per contestant, no report

With task=check, and the suite's own words or run=DIR:
  baseline=NAME|DIR   reports/baselines/NAME here or shipped; with a slash any run folder
  update=true         write the run as the baseline, into the working folder
  check=weights|training  judge the weights over new prompts, or the training over new seeds too;
                      default: the training where weights were trained again
  decide=true         draw the suite's prompts in blocks until every metric passes or regresses, at
                      most those of the baseline, or most=N (with the suite's own words, not run=)
  pictures=URL        where check/pictures will be published, for $GITHUB_STEP_SUMMARY

With task=sensitivity, and the suite's own words:
  contestant=NAME     of the suite; its own settings are the recommended cell
  schedulers=[...]    default [ddim,euler,lcm,tcd]
  etas=[...]          of tcd; default [0,0.3,1]
  guidances=[...]     default [1,2]
  shifts=[...]        of flow_euler, flow_heun and flow_lcm; default the base's own

With task=study run=DIR:
  port=8765           where the page is served, on this machine only
  host=0.0.0.0 token=WORD   serve other machines, for those who know the word
  votes=60            votes a rater is asked for
  export=DIR          a static copy of the page, for raters whom the server does not reach
  import=FILE|DIR     import the votes that they saved
  simulate=8          add votes of 8 simulated raters; the report marks them

If a contestant cannot be drawn, the run ends before it draws anything. With keep_going=true the
run leaves it out, the report names it, and the exit code is 4.

Every key of a suite can be set: prompts.n=500  steps=[1,4]  seeds=[0,1]  prompts.set=mine.txt
  contestants.tcd.eta=0.5  ~contestants.lcm  +contestants.mine.lora=my.safetensors

exit codes: 0 done; 1 check: regressed; 2 usage, or something is missing; 3 check: inconclusive;
  4 done, but some rows, images or scores failed; 70 internal error, its traceback in a file;
  130 stopped
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code is one of those that HELP names."""
    words = sys.argv[1:] if arguments is None else arguments
    print_anything()
    if any(word in ("-h", "--help") for word in words):
        from bench.suite.suite import names

        print(HELP.format(command=command_name(), suites=", ".join(names())), end="")
        return 0
    if "--version" in words:
        print(version_words(CONSOLE))
        return 0
    try:
        with processes.rank_zero_prints():
            return _dispatch(words)
    except (UsageError, OSError) as error:  # OSError: a full disk, a folder that is gone
        print(f"error: {_whose()}{in_a_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"error: {_whose()}{unexpected(error)}", file=sys.stderr)
        return UNEXPECTED
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _whose() -> str:
    """The rank of this process, as a prefix of its errors."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _dispatch(words: list[str]) -> int:
    if not words:
        raise UsageError(f"usage: {command_name()} suite=NAME|PATH [key=value ...]; see --help")
    if "-m" in words or "--multirun" in words:
        from bench.run.sweep import sweep

        return sweep(words, main)
    command = read(words)
    if not processes.here().leads and command.task != "run":
        return 0  # one process is enough for it
    return TASKS[command.task](command)


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


def planned(command: Command) -> Plan:
    """The plan of a suite's run. Raises UsageError."""
    from bench.run.plan import make

    assert command.suite is not None  # `read` refuses these tasks without
    return make(command.suite, command.options)


def _run(command: Command) -> int:
    from bench.run.progress import console

    return carried_out(planned(command), console())[0]


def carried_out(plan: Plan, out: Console) -> tuple[int, Path]:
    """Make the run with its report, and say so on `out`: (exit code, its folder).

    Raises UsageError where something is missing.
    """
    from bench.run.run import run

    folders = []

    def report(found: Summary, folder: Path) -> None:
        from bench.report.write import write

        folders.append(folder)
        write(found, folder, out)

    def early(found: Summary, folder: Path) -> None:
        from bench.report.write import early

        early(found, folder, out)

    code = run(plan, out, report, early)
    return code, folders[0] if folders else plan.out  # one of several processes has no folder


def _plan(command: Command) -> int:
    from bench.run.progress import console
    from bench.run.show import show_plan

    plan = planned(command)
    show_plan(plan, console())
    if command.strict and plan.missing:
        raise UsageError(f"strict=true: {len(plan.missing)} missing, as the plan says")
    return 0


def _report(command: Command) -> int:
    from bench.report import write
    from bench.run.progress import console

    assert command.report is not None
    out = command.options.out
    if command.report.leaderboard:
        return _leaderboard(command)
    if not command.together:
        folder = command.finished or out or planned(command).out
        write.report(folder, console(), out, command.report)
    elif command.report.mixed_model:
        raise UsageError("mixed_model=true: goes with run=DIR; a report of several has no study")
    else:
        write.compare(command.together, console(), out, command.report)
    return 0


def _leaderboard(command: Command) -> int:
    from bench.report import leaderboard

    if not command.together:
        raise UsageError("leaderboard=true: goes with runs=[DIR,DIR] or runs=[DIR/*]")
    print(f"leaderboard: {leaderboard.write(command.together, command.options.out)}")
    return 0


def _check(command: Command) -> int:
    from bench.check.task import check

    assert command.check is not None
    suite = command.suite
    bounds = None if suite is None else {"margins": suite.margins, "limits": suite.limits}
    if command.check.decide:
        return _decide(command, bounds)
    folder = command.finished or command.options.out or _made(planned(command))
    return check(folder, command.check, bounds)


def _decide(command: Command, bounds: Mapping[str, Any] | None) -> int:
    """A check that draws until it is decided."""
    from bench.check import baseline, looks
    from bench.check.decide import decide
    from bench.check.task import finished
    from bench.results.run_folder import RunFolder
    from bench.run.blocks import Blocks
    from bench.run.progress import console

    check = command.check
    assert check is not None
    if command.suite is None or bounds is None or command.finished is not None:
        raise UsageError("decide=true: draws more prompts, so give suite=NAME and the run's own "
                         "words in place of run=DIR")  # fmt: skip
    base = RunFolder(baseline.locate(check.baseline), "baseline").checked()
    blocks = Blocks(command.suite, command.options, console())
    known = min(blocks.prompts, len(base.texts))
    if check.most is not None and check.most > known:
        has = f"baseline={check.baseline} has {len(base.texts):,}, the suite {blocks.prompts:,}"
        raise UsageError(f"most={check.most}: {has}; write a baseline of more (prompts.n=...)")
    chosen = looks.planned(check.most or known)
    for line in blocks.cost(chosen.prompts):
        print(f"decide: {line}")
    out = blocks.folder / "check"
    page = decide(blocks.draw, base, check, bounds, chosen, blocks.measure, out)
    return finished(page, out, check.pictures)


def _made(plan: Plan) -> Path:
    """The folder of the run that the words make."""
    if plan.missing:
        raise UsageError("; ".join(plan.missing))
    if not plan.out.is_dir():
        raise UsageError(
            f"run={plan.out}: there is no such run yet; make it first, by the same words without "
            "task, baseline and update"
        )
    return plan.out


def _study(command: Command) -> int:
    from bench.study.task import study

    assert command.study is not None and command.finished is not None
    return study(command.finished, command.study)


def _sensitivity(command: Command) -> int:
    from bench.report import sensitivity
    from bench.report.write import write
    from bench.run.plan import make
    from bench.run.progress import console
    from bench.run.run import run
    from bench.suite.sampler_grid import gridded

    if command.suite is None or command.grid is None:
        raise UsageError("task=sensitivity: needs suite=NAME and contestant=NAME")
    out, grid = console(), command.grid

    def report(found: Summary, folder: Path) -> None:
        write(found, folder, out)
        sensitivity.write(found, folder, grid.contestant, out)

    return run(make(gridded(command.suite, grid), command.options), out, report)


TASKS = {
    "run": _run,
    "plan": _plan,
    "report": _report,
    "check": _check,
    "study": _study,
    "sensitivity": _sensitivity,
}
