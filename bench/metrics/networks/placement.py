"""Where loaded networks are: on their device all of them, or one at a time where room is short."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

HOST = "cpu"


class Builds(Hashable, Protocol):
    """What says of a network which it is."""

    def build(self, device: str) -> Any:
        """The loaded network; one that is not `Movable` stays where it is."""
        ...


class Movable:
    """A loaded network whose modules can wait on the host. device: where they are."""

    device: str

    def to(self, device: str) -> None:
        """Move all its modules. Raises torch.OutOfMemoryError."""
        from torch import nn

        self.device = device
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(device)


class Placement:
    """Networks by their settings, each built once, and the device that each works on.

    alone: only one at a time is on its device, the others wait on the host.
    """

    def __init__(self) -> None:
        self.alone = False
        self._built: dict[Builds, Any] = {}
        self._devices: dict[Builds, str] = {}

    def get(self, network: Builds, device: str | None = None) -> Any:
        """A network on its device; where that has no room for it, the others leave.

        device: where it has to be; None: where it was asked for last, or the CPU.
        Raises torch.OutOfMemoryError where it does not even fit alone.
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
        """Let the networks on a device wait on the host, from now on all but the one that works;
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
