"""What a plan takes for the GPU: what torch sees, asked in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import cli
from bench.run import hardware
from bench.run.hardware import Device, Machine

TORCH = """
import os
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
class cuda:
    is_available = staticmethod(lambda: {there} and os.environ.get("CUDA_VISIBLE_DEVICES") != "")
    @staticmethod
    def get_device_properties(index):
        class One: name, total_memory = {name!r}, 24 * 2**30
        return One
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose torch.py is what torch is, and whose nvidia-smi knows no memory."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA GB10, [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "torch.py").write_text(TORCH.format(there=True, name="NVIDIA GB10"))
    return tmp_path


def test_it_is_what_torch_sees(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.ask_torch() == Device("cuda", "NVIDIA GB10", 24 * 2**30)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.ask_torch() is None


def test_a_gpu_without_nvidias_tools(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidia-smi").unlink()
    (machine / "kfd").touch()
    (machine / "torch.py").write_text(TORCH.format(there=True, name="AMD Instinct MI300X"))
    monkeypatch.setattr(hardware, "DRIVERS", (str(machine / "kfd"),))
    found = hardware.ask_torch()
    assert found is not None and (found.kind, found.name) == ("cuda", "AMD Instinct MI300X")


def test_half_precision_is_not_drawn_on_a_cpu_in_silence(machine: Path) -> None:
    """A driver and its tools are there, torch is built without CUDA."""
    (machine / "torch.py").write_text(TORCH.format(there=False, name=""))
    command = cli.read(["suite=sd15_1step"])
    assert command.suite is not None
    here, contestants = Machine(gpu=hardware.ask_torch), command.suite.contestants
    for chosen, said in (("auto", "device=cpu precision=fp32"), ("cuda", "device=cuda is not on")):
        (clause,) = hardware.fit(here, contestants, chosen, 512, 1, []).missing
        assert clause.startswith("a GPU: ") and "torch" in clause and said in clause
    assert not hardware.fit(here, contestants, "cpu", 512, 1, []).missing
