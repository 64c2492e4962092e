"""Files of the hub, with the real client against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypersd import reference
from hypersd.errors import UsageError
from hypersd.hub import pipeline_files
from hypersd.hub_lock import Lock
from hypersd.reference import Reference
from tests.real.hub_server import COMMIT, serving

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"weights of a student"
REPOS = {"them/model": {"a.safetensors": CONTENT, "sub/b.safetensors": b"other"}}


def python(code: str, home: Path, endpoint: str, **variables: str) -> str:
    """Runs code in a process of its own, as the hub's client reads its settings once."""
    names = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0",
             "HF_HUB_DISABLE_TELEMETRY": "1", **variables}  # fmt: skip
    lines = f"""
from pathlib import Path
from hypersd.errors import UsageError
from hypersd.hub import Hub
from hypersd.hub_lock import Lock
from hypersd.reference import parse
hub = Hub(Lock(Path({str(home / "lock.json")!r})))
try:
    {code}
except UsageError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, env=names, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout.strip()


def test_the_first_fetch_records_and_a_change_is_refused(tmp_path: Path) -> None:
    fetch = "print(hub.file(parse('hf://them/model/a.safetensors')))"
    with serving(REPOS) as (address, asked):
        path = Path(python(fetch, tmp_path, address))
        assert path.read_bytes() == CONTENT and tmp_path in path.parents
        lock = json.loads((tmp_path / "lock.json").read_text())
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        facts = {"size": len(CONTENT), "sha256": sha256}
        files = {"a.safetensors": facts}
        assert lock == {"them/model": {"commit": COMMIT, "licence": "mit", "files": files}}
        asked.clear()
        assert python(fetch, tmp_path, address) == str(path)
        assert asked == []  # from the cache, without a question
    assert python(fetch, tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1") == str(path)
    lock["them/model"]["files"]["a.safetensors"]["size"] = 3
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    said = python(fetch, tmp_path, address)
    assert said.startswith("UsageError") and "recorded 3" in said


def test_a_change_at_the_hub_is_not_seen_and_other_bytes_are_refused(tmp_path: Path) -> None:
    """Pinned by commit; and where a commit gives other bytes all the same, they are refused."""
    fetch = "print(hub.file(parse('hf://them/model/a.safetensors')))"
    with serving(REPOS) as (address, _):
        python(fetch, tmp_path, address)
    other = {"them/model": {"a.safetensors": CONTENT[::-1]}}
    with serving(other) as (address, asked):
        python(fetch, tmp_path, address, HF_HUB_CACHE=str(tmp_path / "elsewhere"))
        assert any(f"resolve/{COMMIT}/a.safetensors" in line for line in asked)
        said = python(fetch, tmp_path, address, HF_HUB_CACHE=str(tmp_path / "third"))
    assert "UsageError" in said and "sha256" in said


def test_a_training_by_itself_pins_what_it_fetches(tmp_path: Path) -> None:
    fetch = "from hypersd.hub import local_file; print(local_file('hf://them/model/a.safetensors'))"
    with serving(REPOS) as (address, _):
        path = Path(python(fetch, tmp_path, address, HYPERSD_CACHE=str(tmp_path)))
    assert path.read_bytes() == CONTENT
    lock = json.loads((tmp_path / "hub.json").read_text())
    assert lock["them/model"]["commit"] == COMMIT
    assert lock["them/model"]["files"]["a.safetensors"]["size"] == len(CONTENT)


@pytest.mark.parametrize(
    ("repo", "name", "token", "said"),
    [
        ("them/gated", "a.safetensors", "", "accept its licence at https://huggingface.co/them/g"),
        ("them/gated", "a.safetensors", "secret", "a.safetensors"),
        ("them/nothing", "a.safetensors", "", "no such repository"),
        ("them/model", "c.safetensors", "", "did you mean 'a.safetensors'?"),
    ],
)
def test_what_the_hub_refuses_is_said(
    tmp_path: Path, repo: str, name: str, token: str, said: str
) -> None:
    repos = {**REPOS, "them/gated": REPOS["them/model"]}
    with serving(repos, gated={"them/gated"}) as (address, _):
        fetch = f"print(hub.file(parse('hf://{repo}/{name}')))"
        words = python(fetch, tmp_path, address, HF_TOKEN=token)
    assert said in words and "\n" not in words


def test_without_a_network_it_ends_at_once(tmp_path: Path) -> None:
    fetch = "hub.file(parse('hf://them/model/a.safetensors'))"
    assert "Unreachable" in python(fetch, tmp_path, "http://127.0.0.1:9")
    assert "HF_HUB_OFFLINE is set" in python(fetch, tmp_path, "x", HF_HUB_OFFLINE="1")


def test_references() -> None:
    read = reference.reference
    assert read("hf://a/b/c/d.safetensors") == Reference("a/b", None, "c/d.safetensors")
    assert read("hf://a/b@main/d.bin") == Reference("a/b", "main", "d.bin")
    assert read("hf://a/b@0123") == Reference("a/b", "0123")
    assert read("a/b") == Reference("a/b")
    assert [read(name) for name in ("a", "a/b.safetensors", "./a/b", "a/b/c", "/a/b", "../a")] == [
        None] * 6  # fmt: skip
    assert str(Reference("a/b", "main", "d.bin")) == "hf://a/b@main/d.bin"


@pytest.mark.parametrize(
    ("name", "revision", "path"),
    [
        ("hf://a/b@refs/pr/1", "refs/pr/1", ""),
        ("hf://a/b@refs/pr/1/unet/c.safetensors", "refs/pr/1", "unet/c.safetensors"),
        ("hf://a/b@refs/convert/parquet/c.json", "refs/convert/parquet", "c.json"),
        ("hf://a/b@v1.0/unet/c.safetensors", "v1.0", "unet/c.safetensors"),
        ("hf://a/b@refs", "refs", ""),
    ],
)
def test_a_revision_of_the_hubs_own_holds_slashes(name: str, revision: str, path: str) -> None:
    """Those of pull requests and of conversions: what `git ls-remote` of a repository lists."""
    assert reference.parse(name) == reference.reference(name) == Reference("a/b", revision, path)
    assert str(reference.parse(name)) == name


@pytest.mark.parametrize("name", ["a/b", "hf://a", "hf://a/b@", "hf://a/b/c@main", "hf://../b@/c"])
def test_what_is_no_reference_is_said(name: str) -> None:
    with pytest.raises(UsageError, match=r"valid: hf://owner/name\[@revision\]\[/path\]"):
        reference.parse(name)


def test_a_pipelines_files_are_one_set_of_safetensors() -> None:
    """The file names of SDXL's and SD1.5's repositories."""
    unet = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors", "unet/model.onnx",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.bin"]  # fmt: skip
    rest = ["README.md", "model_index.json", "sd_xl_base_1.0.safetensors", "tokenizer/vocab.json",
            "tokenizer/merges.txt", "scheduler/scheduler_config.json",
            "text_encoder/config.json", "text_encoder/model.safetensors",
            "safety_checker/model.safetensors", "vae_1_0/config.json"]  # fmt: skip
    always = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
              "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json",
              "unet/config.json"]  # fmt: skip
    full = pipeline_files(unet + rest, None)
    half = pipeline_files(unet + rest, "fp16")
    assert full == [*always, "unet/diffusion_pytorch_model.safetensors"]
    assert half == [*always, "unet/diffusion_pytorch_model.fp16.safetensors"]


def test_shards_and_their_index() -> None:
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    half = ["unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
            "unet/diffusion_pytorch_model.safetensors.index.fp16.json"]  # fmt: skip
    assert pipeline_files([*shards, index], None) == sorted([*shards, index])
    assert pipeline_files([*shards, index, *half], "fp16") == sorted(half)


def test_a_part_in_half_precision_alone_is_taken_as_it_is() -> None:
    names = ["unet/diffusion_pytorch_model.fp16.safetensors", "vae/model.safetensors"]
    assert pipeline_files(names, None) == pipeline_files(names, "fp16") == names


def test_a_damaged_lock_is_said(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text("{")
    with pytest.raises(UsageError, match=r"lock\.json: cannot be read"):
        Lock(tmp_path / "lock.json").commit(Reference("a/b"))
