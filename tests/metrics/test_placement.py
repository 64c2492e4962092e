"""Which of the metrics' networks are on a device: all that it holds, or one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.metrics.extractor import NetworkExtractor
from bench.metrics.networks import base
from bench.metrics.networks.base import Network
from bench.metrics.networks.placement import Movable, Placement

GPU = "a small GPU"


@dataclass
class Memory:
    """Of a device: what it holds, and what it is given."""

    room: int
    held: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, size: int) -> None:
        if sum(self.held.values()) + size > self.room:
            raise torch.OutOfMemoryError
        self.held[name] = size


class Loaded(Movable):
    def __init__(self, memory: Memory, name: str, size: int, device: str) -> None:
        self.memory, self.name, self.size = memory, name, size
        self.to(device)

    def to(self, device: str) -> None:
        self.device = device
        self.memory.held.pop(self.name, None)
        if device == GPU:
            self.memory.take(self.name, self.size)


@dataclass(frozen=True)
class Sized(Network):
    """A network that takes so much of a memory."""

    size: int
    memory: Memory = field(compare=False)
    label: str = ""

    def build(self, device: str) -> Loaded:
        return Loaded(self.memory, f"{self.label}{self.size}", self.size, device)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True),
    room=st.integers(1, 30),
    alone=st.booleans(),
    asked=st.lists(st.integers(0, 4), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_whoever_works_is_on_the_device_and_it_holds_all_of_it(
    sizes: list[int], room: int, alone: bool, asked: list[int]
) -> None:
    memory, placement = Memory(room), Placement()
    placement.alone = alone
    networks = [Sized(size, memory) for size in sizes]
    for number in asked:
        network = networks[number % len(networks)]
        if network.size > room:
            with pytest.raises(torch.OutOfMemoryError):
                placement.get(network, GPU)
            return
        assert placement.get(network, GPU).device == GPU
        assert sum(memory.held.values()) <= room
        assert not placement.alone or len(memory.held) == 1
        assert placement.get(network) is placement.get(network, GPU)
    if sum(sizes) <= room and not alone:
        assert len(memory.held) == len({number % len(networks) for number in asked})


def test_modules_move_with_what_holds_them() -> None:
    class Pair(Movable):
        def __init__(self) -> None:
            self.one, self.other, self.words = nn.Linear(2, 2), nn.Linear(2, 2), "words"

    pair = Pair()
    pair.to("meta")
    assert {p.device.type for part in (pair.one, pair.other) for p in part.parameters()} == {"meta"}


class Hungry(Loaded):
    """Its activations need all that the device has beside it."""

    def __call__(self, images: object, prompts: object) -> torch.Tensor:
        self.memory.take("activations", self.memory.room - self.size)
        del self.memory.held["activations"]
        return torch.ones(1, 1)


@dataclass(frozen=True)
class HungrySized(Sized):
    @property
    def identity(self) -> str:
        return self.label

    def build(self, device: str) -> Loaded:
        return Hungry(self.memory, f"{self.label}{self.size}", self.size, device)


def test_a_batch_that_has_no_room_beside_others_has_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "LOADED", Placement())
    memory = Memory(10)
    other, hungry = Sized(3, memory, "other"), HungrySized(4, memory, "hungry")
    assert base.loaded(other, GPU).device == base.loaded(hungry, GPU).device == GPU
    look = NetworkExtractor(hungry, GPU)
    monkeypatch.setattr(NetworkExtractor, "_batch", lambda self, images: images)
    assert look(np.zeros((1, 8, 8, 3), np.uint8), [""]) == 1
    assert list(memory.held) == ["hungry4"]
    assert base.make_room(GPU) and not base.make_room(GPU)
    assert not memory.held
