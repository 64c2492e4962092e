"""Places loaded networks on their device: all of them, or one at a time where memory is short."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

HOST = "cpu"


class Builds(Hashable, Protocol):
    """The description of a network, which can build it."""

    def build(self, device: str) -> Any:
        """The loaded network; one that is not `Movable` stays on its device."""
        ...


class Movable:
    """A loaded network whose modules can be moved to the host. device: the present one."""

    device: str

    def to(self, device: str) -> None:
        """Move all its modules. Raises torch.OutOfMemoryError."""
        from torch import nn

        self.device = device
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(device)


class Placement:
    """Networks by their settings, each built once, and their device.

    alone: only one at a time is on the device, the others are on the host.
    """

    def __init__(self) -> None:
        self.alone = False
        self._built: dict[Builds, Any] = {}
        self._devices: dict[Builds, str] = {}

    def get(self, network: Builds, device: str | None = None) -> Any:
        """A network on its device; if memory is short, the others move to the host.

        device: None is the device of the last call, or the CPU. Raises torch.OutOfMemoryError where
        it does not fit alone.
        """
        import torch

        device = device or self._devices.get(network, HOST)
        if self.alone:
            self.release(device, but=network)
        try:
            return self._on(network, device)
        except torch.OutOfMemoryError:
            pass
        self.release(device)
        return self._on(network, device)

    def release(self, device: str, but: Builds | None = None) -> bool:
        """Move the networks on a device to the host, from now on all but the one that runs; returns
        whether there were any."""
        there = [
            built
            for network, built in self._built.items()
            if network != but and isinstance(built, Movable) and built.device == device != HOST
        ]
        for built in there:
            built.to(HOST)
        self.alone = self.alone or bool(there)
        return bool(there)

    def _on(self, network: Builds, device: str) -> Any:
        built, was = self._built.get(network), self._devices.get(network)
        if isinstance(built, Movable):
            if built.device != device:
                built.to(device)
        elif built is None or was != device:
            self._built[network] = network.build(device)
        self._devices[network] = device
        return self._built[network]
