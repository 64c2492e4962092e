"""A suite's file and the command line's words -> one mapping, merged by Hydra.

Hydra's messages never reach the user: a mistake is one line of this project, and `suite.py` decides
which keys are valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import Any

from bench.errors import UsageError, brief, nearest
from bench.suite import suite

# Read without parsing: paths inside a suite, and words that may look like numbers.
LOOSE = ("lora", "unet", "pipeline", "images", "recipe", "base", "set", "host", "token",
         "baseline", "pictures")  # fmt: skip
PATHS = ("suite", "out", "cache", "images", "export", "run", "import", "runs")
OVERRIDE = re.compile(
    r"(?P<sign>\+{0,2}|~)(?P<key>[A-Za-z_][\w.@/-]*)(?:=(?P<value>.*))?", re.DOTALL
)


def split(words: Iterable[str], keys: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The paths among the words, as they stand (Hydra's grammar would want quotes), and the others
    as overrides for Hydra.

    keys: those that are valid beside a suite's and PATHS.  Raises UsageError.
    """
    paths: dict[str, str] = {}
    overrides, known = [], (*PATHS, *keys, *suite.KEYS)
    for word in words:
        match = OVERRIDE.fullmatch(word)
        if match is None or (match["value"] is None and match["sign"] != "~"):
            raise UsageError(f"{word!r}: expected key=value (or --help)")
        first = match["key"].split(".")[0]
        if first not in known:
            raise UsageError(f"unknown key {first!r}; {nearest(first, known)}")
        if first not in PATHS:
            overrides.append(word)
        elif match["sign"] == "~" or match["key"] != first or not match["value"]:
            raise UsageError(f"{word!r}: expected {first}=PATH")
        else:
            paths[first] = match["value"]
    return paths, overrides


def key(override: str) -> str:
    """The key at the top of what an override sets or takes away: `prompts` of `prompts.n=9`."""
    return override.lstrip("+~").split("=")[0].split(".")[0]


def folders(value: str) -> tuple[Path, ...]:
    """The run folders of `runs=[a,b]`, as they stand; of a pattern, `runs=[ci/*]`, those of its
    folders that hold a result. Raises UsageError for fewer than two."""
    parts = [part.strip() for part in value.removeprefix("[").removesuffix("]").split(",")]
    if not all(parts):
        raise UsageError(f"runs={value}: expected two run folders or more, as runs=[a,b]")
    found = dict.fromkeys(folder for part in parts for folder in _matching(part))
    if len(found) < 2:
        raise UsageError(f"runs={value}: expected two run folders or more, as runs=[a,b] or "
                         "runs=[ci/*]")  # fmt: skip
    return tuple(found)


def _matching(part: str) -> list[Path]:
    if "*" not in part:
        return [Path(part)]
    return [path for path in map(Path, sorted(glob(part))) if (path / "result.json").is_file()]


def compose(name: str | None, overrides: list[str]) -> dict[str, Any]:
    """The keys of a suite, changed by `overrides`, with what these say beside it.

    name: of the suite, or its path; None for no suite.  Raises UsageError.
    """
    from hydra import compose as merge
    from hydra import initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    chosen = mapping(suite.locate(name)) if name is not None else {}
    if any(override.lstrip("+").startswith("metrics.") for override in overrides):
        # `metrics.clip.model=...` sets something of a metric that a list just names
        overrides = _lifted_metrics(chosen, overrides)
        chosen["metrics"] = by_name(chosen.get("metrics"))
    store = ConfigStore.instance()
    order = ["_self_", {"suite": "chosen"}]
    store.store("bench", {"defaults": order})
    # Hydra would put the suite's keys under `suite.`; packaged globally they need no prefix.
    store.store("chosen", chosen, group="suite", package="_global_")
    named = chosen.get("contestants")  # `suite.py` says what is wrong where it is no mapping
    shipped = set(named) if isinstance(named, dict) else set()
    _check_new(overrides, shipped)
    contestants = {*shipped, *_added(overrides)}
    signed = [_sign(override, contestants) for override in overrides]
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = merge("bench", signed)
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        words = brief(error).split(" See http")[0].split(" 1. To use")[0]
        raise UsageError(
            f"cannot read {' '.join(overrides)!r}: {words} (lists need brackets, values with any "
            "of = , ( need quotes)"
        ) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _lifted_metrics(chosen: dict[str, Any], overrides: list[str]) -> list[str]:
    """The overrides but for the lists of metrics among them, the last of which is the suite's."""
    kept = []
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        if name == "metrics" and value.startswith("["):
            names = [word.strip(" '\"") for word in value.strip("[] ").split(",")]
            chosen["metrics"] = [word for word in names if word]
        else:
            kept.append(override)
    return kept


def by_name(metrics: Any) -> Any:
    """Metrics with what is set of each; a list just names them."""
    return {str(name): {} for name in metrics} if isinstance(metrics, list) else metrics


def _check_new(overrides: list[str], shipped: set[str]) -> None:
    """Refuse a plus before a contestant that the suite has: it adds one. `++` does either."""
    for override in overrides:
        place = override.split("=")[0].split(".")
        if place[0] == "+contestants" and len(place) > 1 and place[1] in shipped:
            raise UsageError(
                f"{override}: the suite has a contestant {place[1]!r}, and + adds one; valid: "
                f"{override[1:]} changes it, +contestants.NAME... adds one under a name of its own"
            )


def _added(overrides: list[str]) -> set[str]:
    """Contestants that a plus adds."""
    places = (override.lstrip("+").split("=")[0].split(".") for override in overrides
              if override.startswith("+"))  # fmt: skip
    return {place[1] for place in places if place[0] == "contestants" and len(place) > 1}


def _sign(override: str, contestants: set[str]) -> str:
    """`key=value` as `++key=value`: whether a key is valid is for `suite.py` to say.

    A contestant is only added where a plus says so, so that a misspelt one is noticed.
    """
    match = OVERRIDE.fullmatch(override)
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


def mapping(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A suite's mapping; over that of the suite which it `extends`, where it does."""
    from hypersd.plain_yaml import load

    values = load(path, f"suite={path}")
    if not isinstance(values, dict):
        raise UsageError(f"suite={path}: must be a mapping of keys to values")
    given = text_keys(values)
    suite.known(f"suite={path}", given, (*suite.KEYS, "extends"))
    name = given.pop("extends", None)
    if name is None:
        return dict(given)
    if path in above:
        raise UsageError(f"suite={path}: extends itself")
    if not isinstance(name, str):
        raise UsageError(f"suite={path}: extends={name}: must be a text")
    return _over(mapping(suite.locate(name), (*above, path)), given, f"suite={path}")


def _over(below: dict[str, Any], given: dict[str, Any], where: str) -> dict[str, Any]:
    """A suite over the one that it extends. Metrics may be named by both and set by either: a list
    says which there are, a mapping adds to them.

    Raises UsageError where what is a mapping in one is none in the other.
    """
    from omegaconf import OmegaConf

    metrics = given.get("metrics")
    if isinstance(metrics, dict):
        below = {**below, "metrics": by_name(below.get("metrics"))}
    elif isinstance(metrics, list) and isinstance(below.get("metrics"), dict):
        kept = {name: value for name, value in below["metrics"].items() if name in metrics}
        below, given = {**below, "metrics": kept}, {**given, "metrics": by_name(metrics)}
    _same_kinds(below, given, where, "")
    merged = OmegaConf.to_container(OmegaConf.merge(below, given), resolve=False)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def _same_kinds(below: dict[str, Any], given: dict[str, Any], where: str, above: str) -> None:
    for key in [key for key in given if None not in (given[key], below.get(key))]:
        mine, theirs = given[key], below[key]
        if isinstance(mine, dict) and isinstance(theirs, dict):
            _same_kinds(theirs, mine, where, f"{above}{key}.")
        elif isinstance(mine, dict) or isinstance(theirs, dict):
            kind = "no mapping" if isinstance(mine, dict) else "a mapping"
            raise UsageError(f"{where}: {above}{key} is {kind} in the suite that it extends")


def text_keys(values: Any) -> Any:
    """Mappings with texts for keys all through: `at: {4: ...}` is reached by `at.4` then."""
    if isinstance(values, dict):
        return {str(key): text_keys(value) for key, value in values.items()}
    return values
