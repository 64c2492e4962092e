"""`python bench.py suite=NAME|PATH [task=run|plan|report|check|study] [key=value ...]`."""

from __future__ import annotations

import os
import sys

from bench.errors import UsageError
from bench.run import processes

HELP = """\
usage: python bench.py suite=NAME|PATH [task=run|plan|report|check|study] [key=value ...]
       torchrun --nproc-per-node N bench.py ...   N processes share one run, a GPU each
       python bench.py -m key=A,B ...             a sweep: one run per combination

Makes images with every contestant of a suite, scores them and writes a report.

  suite=NAME|PATH     {suites}, or a YAML file
  task=run            make what is missing, score, report (the default)
  task=plan           say what a run will do and what it lacks, and end
  task=report         write the report of a finished run again (run=DIR, or the run's own words),
                      or one of several runs (runs=[DIR,DIR]); makes no images
  task=check          compare a finished run with a baseline (baseline=NAME|DIR)
  task=study          let people choose between pictures of a finished run (run=DIR), blindly

  out=DIR             run folder; default runs/<suite>-<identity>, so the same command resumes
  cache=DIR           images and features that all runs share; default runs/cache
  limit=N             only the first N prompts: a quick run, marked as such
  device=DEVICE       auto, cpu, cuda or mps
  images=DIR          a folder of images (00000.png ...) that competes as well
  precomputed=false   make shipped rows (teacher, anchors) again instead of reading their features
  batch=N|best        images at once; default by device; best: tried out for each contestant
  random_weights=true networks of the real shapes with random weights, to measure seconds and
                      memory without a download; every page says so
  compile=true        run every UNet through torch.compile; minutes for each first, and images of
                      their own, since rounding is another
  export=DIR          write this run's features as shipped ones (for maintainers)

With task=check, and the suite's own words or run=DIR:
  baseline=NAME|DIR   reports/baselines/NAME; a folder (any run, too) where it holds a slash
  update=true         write the baseline out of the run
  pictures=URL        where check/pictures will be published, for $GITHUB_STEP_SUMMARY

With task=study run=DIR:
  port=8765           where the page is served, on this machine only
  host=0.0.0.0 token=WORD   for other machines too, to those who know the word
  votes=60            votes a rater is asked for
  export=DIR          a static copy of the page, for raters whom the server does not reach
  import=FILE|DIR     bring in the votes that they saved
  simulate=8          votes of so many simulated raters, marked as such

Every key of a suite can be set: prompts.n=500  steps=[1,4]  seeds=[0,1]  prompts.set=mine.txt
  contestants.tcd.eta=0.5  ~contestants.lcm  +contestants.mine.lora=my.safetensors

exit codes: 0 done; 1 check: regressed; 2 usage, or something is missing; 3 check: inconclusive;
  4 done, but some images or scores failed
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code is one of those that HELP names."""
    words = sys.argv[1:] if arguments is None else arguments
    if any(word in ("-h", "--help") for word in words):
        from bench.suite.suite import names

        print(HELP.format(suites=", ".join(names())), end="")
        return 0
    try:
        with processes.one_voice():
            return _dispatch(words)
    except (UsageError, OSError) as error:  # OSError: a full disk, a folder that is gone
        print(f"error: {_whose()}{' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _whose() -> str:
    """Which process of several speaks."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _dispatch(words: list[str]) -> int:
    if not words:
        raise UsageError("usage: python bench.py suite=NAME|PATH [key=value ...]; see --help")
    if "-m" in words or "--multirun" in words:
        from bench.run.sweep import sweep

        return sweep(words)
    from bench import options

    chosen, suite = options.read(words)
    if not processes.here().leads and chosen.task != "run":
        return 0  # one process is enough for it
    if chosen.task == "study":
        from bench.study.task import study

        return study(chosen)
    if chosen.task == "check":
        from bench.check.task import check

        return check(chosen, suite)
    if chosen.runs:
        from bench.report.finished import compare

        return compare(list(chosen.runs), chosen.out)
    finished = chosen.run or (chosen.out if chosen.task == "report" else None)
    if finished is not None:
        from bench.report.finished import report

        return report(finished, chosen.out)
    assert suite is not None
    from bench.run.plan import make

    plan = make(suite, chosen)
    if chosen.task == "plan":
        plan.show()
        return 0
    if chosen.task == "report":
        from bench.report.finished import report

        return report(plan.out)
    from bench.run.run import run

    return run(plan)
