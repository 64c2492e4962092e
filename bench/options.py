"""The command line's words -> what to do (Options), and the suite that it is to be done with.

`compose.py` merges the suite and the words; what the result may hold is checked here and in
`suite.py`, so that every mistake is one line of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.suite import fields, suite
from bench.suite.compose import OVERRIDE, compose

TASKS = ("run", "plan", "report", "check", "study")
DEVICES = ("auto", "cpu", "cuda", "mps")
BATCHES = ("auto", "best")  # or a number
PATHS = ("suite", "out", "cache", "images", "export", "run", "import", "runs")
DEFAULTS: dict[str, Any] = {
    "task": "run", "limit": None, "device": "auto", "precomputed": True, "batch": None,
    "port": 8765, "host": "127.0.0.1", "token": None, "votes": 60, "simulate": None,
    "baseline": None, "update": False, "pictures": None, "random_weights": False,
    "compile": False,
}  # fmt: skip
STUDY = ("port", "host", "token", "votes", "simulate")  # keys that go with task=study
CHECK = ("baseline", "update", "pictures")  # keys that go with task=check


@dataclass(frozen=True)
class Options:
    """What the command line asks for besides the suite.

    out: run folder, None for the default.  limit: only the first so many prompts.  images: a
    folder that competes as well.  precomputed: use shipped features where identities match.
    batch: images at once, None for the device's default.  best_batch: searched for, for each
    contestant (`batch=best`).  export: a folder that receives this run's features as shipped ones,
    or (task=study) a static copy of the study.  run: a finished run folder (task=report,
    task=study).  runs: finished runs to compare (task=report).

    random_weights: networks of the real shapes without their weights, for seconds and memory alone.
    compiled: UNets run through torch.compile (`compile=`).

    Of a check: baseline: a name, or a folder where it holds a slash.  update: write it.  pictures:
    the address at which the check's pictures will be published.

    Of a study: port, host, token: where its page is served, and the word that other machines must
    know.  votes: how many a rater is asked for.  imported: files of votes to bring in (`import=`).
    simulate: raters of a simulated panel that votes.
    """

    task: str = "run"
    out: Path | None = None
    cache: Path = Path("runs/cache")
    limit: int | None = None
    device: str = "auto"
    images: Path | None = None
    precomputed: bool = True
    batch: int | None = None
    best_batch: bool = False
    export: Path | None = None
    run: Path | None = None
    runs: tuple[Path, ...] = ()
    port: int = 8765
    host: str = "127.0.0.1"
    token: str | None = None
    votes: int = 60
    imported: Path | None = None
    simulate: int | None = None
    baseline: str | None = None
    update: bool = False
    pictures: str | None = None
    random_weights: bool = False
    compiled: bool = False


def read(arguments: list[str]) -> tuple[Options, suite.Suite | None]:
    """Options and suite of a command line; no suite where `run=` names a finished run.

    Raises UsageError for anything that is not valid.
    """
    paths, overrides = _split(arguments)
    name = paths.pop("suite", None)
    runs = _runs(paths.pop("runs", None))
    if name is None and "run" not in paths and not runs and "task=study" not in overrides:
        raise UsageError(f"suite=NAME is missing; there are {', '.join(suite.names())}")
    values = compose(name, overrides, DEFAULTS)
    given = {key: values.pop(key) for key in DEFAULTS}
    _study_keys(given["task"], [*paths, *(["suite"] if name else [])], overrides)
    _check_keys(given)
    places = {"import": "imported"}
    options = _options(given, runs, {places.get(k, k): Path(value) for k, value in paths.items()})
    if name is None:
        for key in values:
            raise UsageError(f"{key}=...: is a key of a suite; give suite=NAME as well")
        return options, None
    found = suite.read(Path(name).stem, values, options.images)
    if options.compiled:
        found = suite.with_compiled_networks(found)
    return options, suite.with_random_weights(found) if options.random_weights else found


def _options(given: dict[str, Any], runs: tuple[Path, ...], paths: dict[str, Any]) -> Options:
    limit = given["limit"]
    options = Options(
        task=fields.choice("task", given["task"], TASKS),
        limit=None if limit is None else fields.integer("limit", limit, 2),
        device=fields.choice("device", given["device"], DEVICES),
        precomputed=fields.flag("precomputed", given["precomputed"]),
        random_weights=fields.flag("random_weights", given["random_weights"]),
        compiled=fields.flag("compile", given["compile"]),
        batch=_batch(given["batch"]),
        best_batch=given["batch"] == "best",
        runs=runs,
        **_study(given),
        **_check(given),
        **paths,
    )
    if options.images is not None and not options.images.is_dir():
        raise UsageError(f"images={options.images}: no such folder")
    if options.export is not None and options.limit is not None and options.task != "study":
        raise UsageError(f"export={options.export}: needs the whole prompt set; leave limit out")
    if options.run is not None and options.task not in ("report", "check", "study"):
        raise UsageError(f"run={options.run}: goes with task=report, task=check or task=study")
    if options.runs and options.task != "report":
        raise UsageError("runs=[...]: goes with task=report")
    return options


def _batch(value: Any) -> int | None:
    """Images at once; None for words, and where it is not given."""
    if isinstance(value, str):
        fields.choice("batch", value, BATCHES)
    return None if value is None or value in BATCHES else fields.integer("batch", value, 1, 4096)


def _runs(value: str | None) -> tuple[Path, ...]:
    """The folders of `runs=[a,b]`, as they stand; none where it is not given."""
    if value is None:
        return ()
    found = [part.strip() for part in value.removeprefix("[").removesuffix("]").split(",")]
    if len(found) < 2 or not all(found):
        raise UsageError(f"runs={value}: expected two run folders or more, as runs=[a,b]")
    return tuple(Path(part) for part in found)


def _study(given: dict[str, Any]) -> dict[str, Any]:
    """The keys of a study, checked."""
    token, simulate = given["token"], given["simulate"]
    if token is not None and not re.fullmatch(r"[\w.~-]{8,200}", str(token), re.ASCII):
        raise UsageError("token=...: must have 8 to 200 letters, digits or any of - _ . ~")
    return {
        "port": fields.integer("port", given["port"], 0, 65535),
        "host": fields.text("host", given["host"]),
        "token": token,
        "votes": fields.integer("votes", given["votes"], 1, 100_000),
        "simulate": None if simulate is None else fields.integer("simulate", simulate, 1, 1000),
    }


def _check(given: dict[str, Any]) -> dict[str, Any]:
    """The keys of a check, as the types they must have."""
    texts = {key: given[key] for key in ("baseline", "pictures")}
    found = {key: None if v is None else fields.text(key, v) for key, v in texts.items()}
    return {**found, "update": fields.flag("update", given["update"])}


def _check_keys(given: dict[str, Any]) -> None:
    """Refuse a check without a baseline, and a check's keys elsewhere."""
    if given["task"] != "check":
        for key in CHECK:
            if given[key] != DEFAULTS[key]:
                raise UsageError(f"{key}={given[key]}: goes with task=check")
    elif given["baseline"] is None:
        from bench.check.baseline import names

        there = f"there are {', '.join(names())}, or" if names() else "there is none yet, but give"
        raise UsageError(f"baseline=NAME is missing; {there} a folder with a slash")


def _study_keys(task: Any, paths: list[str], overrides: list[str]) -> None:
    """Refuse a study without a run, two things to do at once, and a study's keys elsewhere."""
    keys = {override.lstrip("+").split("=")[0] for override in overrides} | set(paths)
    if task == "study":
        if "run" not in paths:
            raise UsageError("run=DIR is missing: task=study needs a finished run")
        others = sorted(keys - {"task", "run", "export", "import", *STUDY})
        if others:
            raise UsageError(f"{others[0]}: does not go with task=study")
        doing = [key for key in ("import", "export", "simulate") if key in keys]
        if len(doing) > 1:
            raise UsageError(f"{doing[0]}= and {doing[1]}=: give one at a time")
    elif keys & {"import", *STUDY}:
        raise UsageError(f"{min(keys & {'import', *STUDY})}: goes with task=study")


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Paths, taken as they stand (Hydra's grammar would want quotes), and overrides for Hydra."""
    paths: dict[str, str] = {}
    overrides = []
    for argument in arguments:
        match = OVERRIDE.fullmatch(argument)
        if match is None or (match["value"] is None and match["sign"] != "~"):
            raise UsageError(f"{argument!r}: expected key=value (or --help)")
        first = match["key"].split(".")[0]
        known = (*PATHS, *DEFAULTS, *suite.KEYS)
        if first not in known:
            raise UsageError(f"unknown key {first!r}; {nearest(first, known)}")
        if first not in PATHS:
            overrides.append(argument)
            continue
        if match["sign"] == "~" or match["key"] != first or not match["value"]:
            raise UsageError(f"{argument!r}: expected {first}=PATH")
        paths[first] = match["value"]
    return paths, overrides
