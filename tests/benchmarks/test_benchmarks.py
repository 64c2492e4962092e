"""Every benchmark at a tiny size: it runs, ours and the peer give the same, its files hold both."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
Measured = Callable[..., list[dict[str, Any]]]
TRAINS = """
import sys, time
import torch
from torch import nn

class UNet2DConditionModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10), requires_grad=False)

class AutoencoderKL(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, dtype=torch.bfloat16), requires_grad=False)

teacher, student, vae = UNet2DConditionModel(), UNet2DConditionModel(), AutoencoderKL()
student.lora_A = nn.Parameter(torch.ones(1))
optimizer = torch.optim.AdamW([student.lora_A])
for _ in range(int(sys.argv[1])):
    time.sleep(0.02)
    student.lora_A.sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
"""


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Measured:
    """The rows that `python -m benchmarks.<name>` writes, in an empty folder."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> list[dict[str, Any]]:
        importlib.import_module(f"benchmarks.{name}").main(list(words))
        found = json.loads((tmp_path / f"runs/benchmarks/{name}.json").read_text())
        assert found["machine"]["versions"]["torch"] and found["machine"]["commit"]
        rows: list[dict[str, Any]] = found["rows"]
        printed = capsys.readouterr().out
        assert all(f"| {row['what']} | {row['ours']:.3g} |" in printed for row in rows)
        return rows

    return run


def test_start(measured: Measured) -> None:
    rows = measured("start", "repeats=1")
    assert [row["what"].split()[0] for row in rows] == [
        "--help", "task=plan", "task=plan", "import",
    ]  # fmt: skip
    assert 0 < rows[0]["ours"] < rows[1]["ours"]


@pytest.mark.slow
def test_overhead(measured: Measured) -> None:
    work, fixed = measured("overhead", "prompts.n=40")
    assert work["ours"] > work["theirs"] > 0 and fixed["ours"] > 0


@pytest.mark.slow
def test_naive(measured: Measured) -> None:
    (row,) = measured("naive", "n=40", "contestants=lcm")
    assert float(re.findall(r"value ([\d.e-]+);", row["note"])[0]) < 0.02


@pytest.mark.slow
def test_features(measured: Measured) -> None:
    clean, other = measured("features", "n=4", "side=320")
    differences = [float(row["note"].split()[-1]) for row in (clean, other)]
    assert differences[0] < 1e-3 < differences[1]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "unets"), [("one_copy", 1), ("two_copies", 2)])
def test_peer_training(measured: Measured, form: str, unets: int) -> None:
    scripts = os.environ.get("DIFFUSERS_SCRIPTS")  # examples/consistency_distillation, at a tag
    if not scripts:
        pytest.skip("DIFFUSERS_SCRIPTS names no folder with diffusers' LCM scripts")
    found = measured("peer_training", f"scripts={scripts}", f"forms={form}", "batch=2", "steps=1")
    assert len(found) == 4
    for row in found:
        ours, peer = row["found"], row["peer_found"]
        assert ours["trained"] == peer["trained"] and peer["failed_later"] is None
        assert (ours["unets"], peer["unets"]) == (1, unets)


def test_the_probe_counts_what_is_alive(tmp_path: Path) -> None:
    """In a process of its own: two UNets, an adapter of one weight trained by AdamW (in fp32: a
    gradient and two moments of 4 bytes each, a step count of 4), and a VAE that is no UNet."""
    (tmp_path / "trains.py").write_text(TRAINS)
    paths = [str(tmp_path / name) for name in ("found.json", "trains.py")]
    command = [sys.executable, "-m", "benchmarks.step_probe", *paths, "6"]
    subprocess.run(command, cwd=ROOT, check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["seconds"]) == 3 and min(found["seconds"]) >= 0.02
    counted = {"unet_bytes": 2 * 10 * 4 + 4, "other_bytes": 5 * 2, "gradient_bytes": 4,
               "optimizer_bytes": 12, "unets": 2, "trained": 1}  # fmt: skip
    assert {name: found[name] for name in counted} == counted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "scripts='' holds no train_lcm_distill_lora_sdxl.py"),
        (("batch=0",), "batch='0'; valid: a whole number from 1"),
        (("methods=lcd",), "methods: no 'lcd'; did you mean 'lcm'?"),
        (("scrips=x",), "'scrips=x': did you mean 'scripts'?"),
    ],
)
def test_peer_training_says_what_is_wrong(
    words: tuple[str, ...], said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlib.import_module("benchmarks.peer_training").main(list(words)) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


@pytest.mark.slow
def test_growth(measured: Measured) -> None:
    rows = measured("growth", "n=20,40", "contestants=1,2")
    assert len(rows) == 3 and rows[0]["ratio"] == 1


def test_time_within_networks_is_counted_once() -> None:
    from benchmarks.networks import timed

    now = 0.0

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal now
            now += 5
            return x

    call = nn.Module.__call__
    with timed(lambda: now) as found:
        nn.Sequential(nn.Sequential(Slow(), Slow()), Slow())(torch.zeros(1))
        now += 20
    assert found.calls == 1 and found.seconds == 15
    assert nn.Module.__call__ is call
