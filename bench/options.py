"""The command line's words -> what to do (Options) and the suite's mapping, through Hydra.

Hydra's compose API merges the suite and the overrides; what the result may hold is checked here
and in `suite.py`, so that every mistake is one line of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import fields, suite
from bench.errors import UsageError, nearest

TASKS = ("run", "plan", "report", "check", "study")
DEVICES = ("auto", "cpu", "cuda", "mps")
PATHS = ("suite", "out", "cache", "images", "export", "run", "import", "runs")
DEFAULTS: dict[str, Any] = {
    "task": "run", "limit": None, "device": "auto", "precomputed": True, "batch": None,
    "port": 8765, "host": "127.0.0.1", "token": None, "votes": 60, "simulate": None,
    "baseline": None, "update": False, "pictures": None, "random_weights": False,
}  # fmt: skip
# Taken as they stand: paths inside a suite, and words that may look like numbers.
LOOSE = ("lora", "unet", "pipeline", "images", "recipe", "base", "set", "host", "token",
         "baseline", "pictures")  # fmt: skip
STUDY = ("port", "host", "token", "votes", "simulate")  # keys that go with task=study
CHECK = ("baseline", "update", "pictures")  # keys that go with task=check
_OVERRIDE = re.compile(
    r"(?P<sign>\+{0,2}|~)(?P<key>[A-Za-z_][\w.@/-]*)(?:=(?P<value>.*))?", re.DOTALL
)


@dataclass(frozen=True)
class Options:
    """What the command line asks for besides the suite.

    out: run folder, None for the default.  limit: only the first so many prompts.  images: a
    folder that competes as well.  precomputed: use shipped features where identities match.
    batch: images at once, None for the device's default.  export: a folder that receives this
    run's features as shipped ones, or (task=study) a static copy of the study.  run: a finished
    run folder (task=report, task=study).  runs: finished runs to compare (task=report).

    random_weights: networks of the real shapes without their weights, for seconds and memory alone.

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


def read(arguments: list[str]) -> tuple[Options, suite.Suite | None]:
    """Options and suite of a command line; no suite where `run=` names a finished run.

    Raises UsageError for anything that is not valid.
    """
    paths, overrides = _split(arguments)
    name = paths.pop("suite", None)
    runs = _runs(paths.pop("runs", None))
    if name is None and "run" not in paths and not runs and "task=study" not in overrides:
        raise UsageError(f"suite=NAME is missing; there are {', '.join(suite.names())}")
    values = _compose(name, overrides)
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
    return options, suite.with_random_weights(found) if options.random_weights else found


def _options(given: dict[str, Any], runs: tuple[Path, ...], paths: dict[str, Any]) -> Options:
    limit, batch = given["limit"], given["batch"]
    options = Options(
        task=fields.choice("task", given["task"], TASKS),
        limit=None if limit is None else fields.integer("limit", limit, 2),
        device=fields.choice("device", given["device"], DEVICES),
        precomputed=fields.flag("precomputed", given["precomputed"]),
        random_weights=fields.flag("random_weights", given["random_weights"]),
        batch=None if batch in (None, "auto") else fields.integer("batch", batch, 1, 4096),
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
        match = _OVERRIDE.fullmatch(argument)
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


def _compose(name: str | None, overrides: list[str]) -> dict[str, Any]:
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    chosen = _load(suite.locate(name)) if name is not None else {}
    if isinstance(chosen.get("metrics"), list) and any(
        override.lstrip("+").startswith("metrics.") for override in overrides
    ):  # `metrics.clip.model=...` sets something of a metric that the suite just names
        chosen["metrics"] = {str(metric): {} for metric in chosen["metrics"]}
    store = ConfigStore.instance()
    defaults = ["_self_", {"suite": "chosen"}]
    store.store("bench", {"defaults": defaults, **DEFAULTS})
    # Hydra would put the suite's keys under `suite.`; packaged globally they need no prefix.
    store.store("chosen", chosen, group="suite", package="_global_")
    named = chosen.get("contestants")  # `suite.py` says what is wrong where it is no mapping
    contestants = {*(named if isinstance(named, dict) else ()), *_added(overrides)}
    signed = [_sign(override, contestants) for override in overrides]
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose("bench", signed)
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        words = _reason(error).split(" See http")[0].split(" 1. To use")[0]
        raise UsageError(
            f"cannot read {' '.join(overrides)!r}: {words} (lists need brackets, values with any "
            "of = , ( need quotes)"
        ) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _added(overrides: list[str]) -> set[str]:
    """Contestants that a plus adds."""
    places = (override.lstrip("+").split("=")[0].split(".") for override in overrides
              if override.startswith("+"))  # fmt: skip
    return {place[1] for place in places if place[0] == "contestants" and len(place) > 1}


def _sign(override: str, contestants: set[str]) -> str:
    """`key=value` as `++key=value`: whether a key is valid is for `suite.py` to say.

    A contestant is only added where a plus says so, so that a misspelt one is noticed.
    """
    match = _OVERRIDE.fullmatch(override)
    assert match is not None
    place = match["key"].split(".")
    if place[0] == "contestants" and len(place) > 1 and place[1] not in contestants:
        raise UsageError(
            f"no contestant {place[1]!r}; {nearest(place[1], contestants)} "
            f"(a new one is added by +contestants.{place[1]}...)"
        )
    if match["sign"] == "~":
        return override
    value = match["value"]
    if place[-1] in LOOSE and value[:1] not in ("'", '"'):
        value = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"++{match['key']}={value}"


def _load(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A suite's mapping; over that of the suite which it `extends`, where it does."""
    from omegaconf import OmegaConf

    from hypersd.plain_yaml import load

    values = load(path, f"suite={path}")
    given = fields.mapping(f"suite={path}", values, (*suite.KEYS, "extends"))
    name = given.pop("extends", None)
    if name is None:
        return dict(_text_keys(given))
    if path in above:
        raise UsageError(f"suite={path}: extends itself")
    below = _load(suite.locate(fields.text(f"suite={path}: extends", name)), (*above, path))
    merged = OmegaConf.to_container(OmegaConf.merge(below, _text_keys(given)), resolve=False)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def _text_keys(values: Any) -> Any:
    """Mappings with texts for keys all through: `at: {4: ...}` is reached by `at.4` then."""
    if isinstance(values, dict):
        return {str(key): _text_keys(value) for key, value in values.items()}
    return values


def _reason(error: Exception) -> str:
    """An error of a library in one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else words[:197] + "..."
