"""A hub that is busy, gated, broken or changed: what helps is done, all else is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.hub_server import Fault, serving

ROOT = Path(__file__).resolve().parents[2]
FILE = "a.safetensors"
CONTENT = bytes(range(256)) * 64
CODE = """
import sys
from pathlib import Path
from hypersd import hub_client
from hypersd.errors import UsageError
from hypersd.hub import Hub, machine_lock
from hypersd.hub_lock import Lock
from hypersd.reference import Reference
hub = Hub(Lock(machine_lock()))
hub_client.PAUSES = (0.05,) * 4
hub_client.TIMEOUT = 1.0
def fetch(repo):
    try:
        print(hub.file(Reference(repo, None, "a.safetensors")), flush=True)
    except UsageError as error:
        print(type(error).__name__, error, flush=True)
for repo in sys.argv[1:]:
    fetch(repo)
"""


def fetched(home: Path, address: str, *repos: str, code: str = "", **variables: str) -> list[str]:
    """What becomes of each repository's file, and what is said beside it: a process of its own, as
    the hub's client reads its settings once."""
    names = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0",
             "HF_HUB_DISABLE_TELEMETRY": "1", **variables}  # fmt: skip
    names.pop("HF_ASSETS_CACHE", None)
    code = CODE.replace("for repo in", code + "\nfor repo in")
    done = subprocess.run([sys.executable, "-c", code, *repos], cwd=ROOT, env=names, check=True,
                          capture_output=True, text=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(repos), done.stdout
    return [*lines, done.stderr]


TROUBLES = {
    "busy": [Fault("GET api/models/them/busy", 429, {"Retry-After": "0"}, times=2),
             Fault("GET elsewhere/them/busy", 503)],
    "slow": [Fault("GET api/models/them/slow", wait=1.5)],
    "broken": [Fault("GET elsewhere/them/broken", cut=5000)],
    "full": [Fault("GET api/models/them/full", 429, times=9)],
    "down": [Fault("them/down", 503, times=99)],
    "wrong": [Fault("api/models/them/wrong", 401)],
    "private": [Fault("api/models/them/private", 401, {"X-Error-Code": "RepoNotFound"})],
    "closed": [Fault("HEAD them/closed", 403)],
}  # fmt: skip


def test_what_passes_is_waited_for_and_what_stays_is_said(tmp_path: Path) -> None:
    """Too many requests, out of order, slow, broken off; and which of network, gate and quota."""
    repos = {f"them/{name}": {FILE: CONTENT} for name in [*TROUBLES, "gated"]}
    faults = [fault for some in TROUBLES.values() for fault in some]
    with serving(repos, {"them/gated"}, faults) as (address, asked):
        *said, beside = fetched(tmp_path, address, *repos, "them/nobody")
    found = dict(zip([*TROUBLES, "gated", "nobody"], said, strict=True))
    for name in ("busy", "slow", "broken"):
        assert Path(found[name]).read_bytes() == CONTENT, found[name]
    assert sum("GET elsewhere/them/broken" in line for line in asked) == 2  # the second, the rest
    assert "hf://them/busy: 429; asking again in 0 s" in beside
    assert "them/busy/a.safetensors: 503; asking again in 0.05 s" in beside
    for name, kind, words in (
        ("full", "Unreachable", "too many requests (429), also after waiting"),
        ("down", "Unreachable", "the server failed (503)"),
        ("closed", "UsageError", "no access (403): HF_TOKEN"),
        ("wrong", "UsageError", "no access (401): HF_TOKEN"),
        ("private", "UsageError", "no such repository, or it is private: set HF_TOKEN"),
        ("gated", "UsageError", "gated: accept its licence at https://huggingface.co/them/gated"),
        ("nobody", "UsageError", "no such repository"),
    ):
        assert found[name].startswith(kind) and words in found[name], found[name]


def test_a_full_disk_is_not_the_network(tmp_path: Path) -> None:
    code = """
import errno
from huggingface_hub import file_download
def full(*words, **more):
    raise OSError(errno.ENOSPC, "No space left on device")
file_download.http_get = full
"""
    with serving({"them/model": {FILE: CONTENT}}) as (address, _):
        said, _ = fetched(tmp_path, address, "them/model", code=code)
    assert said.startswith("UsageError") and f"the disk is full at {tmp_path}/hub" in said


def test_a_changed_file_is_refused_each_time_and_the_mended_hub_is_taken(tmp_path: Path) -> None:
    good, other = {"them/model": {FILE: CONTENT}}, {"them/model": {FILE: CONTENT[::-1]}}
    with serving(good) as (address, _):
        path, _ = fetched(tmp_path, address, "them/model")
    Path(path).resolve().unlink()
    Path(path).unlink()
    with serving(other) as (address, _):
        *twice, _ = fetched(tmp_path, address, "them/model", "them/model")
    for said in twice:
        assert said.startswith("UsageError hf://them/model/a.safetensors: its sha256 is ")
    with serving(good) as (address, _):
        assert fetched(tmp_path, address, "them/model")[0] == path
    assert Path(path).read_bytes() == CONTENT


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    with serving({"them/model": {FILE: CONTENT}}) as (address, _):
        path, _ = fetched(tmp_path, address, "them/model")
        Path(path).resolve().write_bytes(CONTENT[::-1])
        offline, _ = fetched(tmp_path, address, "them/model", HF_HUB_OFFLINE="1")
        assert "its sha256 is" in offline and "HF_HUB_OFFLINE is set" in offline
        again, beside = fetched(tmp_path, address, "them/model")
    assert again == path and Path(path).read_bytes() == CONTENT
    assert f"{path}: hf://them/model/a.safetensors: its sha256 is" in beside


@pytest.mark.parametrize("kept", ["hub", "home"])
def test_a_full_cache_is_found_without_a_network(kept: str, tmp_path: Path) -> None:
    """Also where the cache alone came here, without what this machine recorded."""
    with serving({"them/model": {FILE: CONTENT}}) as (address, _):
        path, _ = fetched(tmp_path / "home", address, "them/model")
    home = tmp_path / ("home" if kept == "home" else "other")
    words = {"HF_HUB_CACHE": str(tmp_path / "home/hub"), "HF_HUB_OFFLINE": "1"}
    assert fetched(home, "http://127.0.0.1:9", "them/model", **words)[0] == path
    recorded = json.loads((home / "assets/few-step-bench/hub.json").read_text())
    assert recorded["them/model"]["files"][FILE]["size"] == len(CONTENT)
