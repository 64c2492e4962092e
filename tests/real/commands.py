"""Command lines of the benchmark against a hub on this machine, each as in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cli
from bench.suite.suite import Suite
from tests.real import evaluators, small_bench
from tests.real.hub_server import LARGE, MARK
from tests.real.official import Files

ROOT = Path(__file__).resolve().parents[2]
SMALL_BENCH = ["-m", "tests.real.small_bench"]
BENCH = [sys.executable, str(ROOT / "bench.py")]
BY_ONE = [sys.executable, *SMALL_BENCH]
BY_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
          *SMALL_BENCH]  # fmt: skip
Hub = tuple[str, list[str]]  # its address, and what it is asked
SMALL = "size=64 device=cpu prompts.set=own prompts.n=2"
AT = "/resolve/"  # in the path of a file's content


@dataclass(frozen=True)
class Done:
    """A command line that was done: what it said, its exit code and what it asked of the hub."""

    said: str
    errors: str
    code: int
    asked: list[str]


def suite_of(words: str) -> Suite:
    """What a command line runs."""
    found = cli.read(words.split()).suite
    assert found is not None
    return found


def small(name: str, *, made: bool = False) -> str:
    """The words that run a suite on small models: sizes, the number of prompts, where its metrics'
    files are, and a recipe that is short; no contestant, step or metric less.

    made: on the suite's own captions, so that the run makes its references.
    """
    suite = suite_of(f"suite={name}")
    keys = {contestant.key for contestant in suite.contestants}
    turbo = ["contestants.turbo.size=64"] if "turbo" in keys else []
    candidate = ["contestants.candidate.recipe=small.yaml"] if "candidate" in keys else []
    sizes = SMALL.replace("prompts.set=own ", "") if made else SMALL
    files = evaluators.words(suite.metrics, made=made)
    return " ".join([f"suite={name}", sizes, *turbo, *candidate, *files])


def bench(folder: Path, hub: Hub, *lines: str, **variables: str) -> list[Done]:
    """Command lines in a folder, one after the other in a process of their own: the hub's client
    reads its settings once. What the hub was asked before is forgotten."""
    whole = one(folder, hub, BY_ONE, "", "\n".join(lines), **variables)
    assert whole.code == 0, whole.said + whole.errors
    said, errors = _parts(whole.said), _parts(whole.errors)
    assert len(said) == len(errors) == len(lines), whole.errors
    asked = _asked(whole.asked) or [[]] * len(lines)
    return [_done(*parts) for parts in zip(said, errors, asked, strict=True)]


def one(
    folder: Path, hub: Hub, by: list[str], line: str, typed: str = "", **variables: str
) -> Done:
    """A command line of a program, in a process of its own. What the hub was asked before is
    forgotten."""
    address, asked = hub
    asked.clear()
    names = {**os.environ, "HF_HOME": str(folder / "home"), "HF_ENDPOINT": address,
             "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(ROOT), **variables}  # fmt: skip
    for name in ("HF_ASSETS_CACHE", "TRANSFORMERS_OFFLINE"):
        names.pop(name, None)
    done = subprocess.run([*by, *line.split()], cwd=folder, env=names, input=typed, check=False,
                          capture_output=True, text=True)  # fmt: skip
    return Done(done.stdout, done.stderr, done.returncode, list(asked))


def _parts(text: str) -> list[str]:
    return [part.partition("\n")[2] for part in f"\n{text}".split(f"\n{small_bench.BETWEEN}")[1:]]


def _asked(lines: list[str]) -> list[list[str]]:
    """What was asked after each mark."""
    return [part.splitlines() for part in "\n".join(lines).split(f"GET {MARK}")[1:]]


def _done(said: str, errors: str, asked: list[str]) -> Done:
    body, _, code = said.rpartition("exit ")
    return Done(body, errors, int(code), [line for line in asked if line])


def result(run: Path) -> dict[str, Any]:
    """The result of a run folder."""
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def unplanned(run: Path) -> list[str]:
    """What came out otherwise than planned, but for seconds, which depend on the machine's load."""
    lines = result(run)["ledger"]["not_as_planned"]
    return [line for line in lines if not line.startswith("it took ")]


def contents(asked: list[str]) -> Counter[tuple[str, str]]:
    """How often each file's content was asked for, by repository and path."""
    found = Counter()
    for line in asked:
        verb, path = line.split(" ")[:2]
        repo, at, rest = path.removeprefix("elsewhere/").partition(AT)
        name = rest.partition("/")[2]
        if verb == "GET" and at and name.endswith(LARGE) == path.startswith("elsewhere/"):
            found[repo, name] += 1
    return found


def sizes(asked: list[str], repos: dict[str, Files]) -> Counter[str]:
    """The bytes of the files whose content was asked for, by repository."""
    found: Counter[str] = Counter()
    for repo, name in contents(asked):
        found[repo] += len(repos[repo][name])
    return found
