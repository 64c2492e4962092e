"""How a few-step student is sampled: the settings of a diffusers scheduler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Drawing:
    """Settings of a diffusers scheduler; there is no guidance.

    scheduler: "ddim", "lcm" or "tcd"; on a rectified flow "flow_euler" or "flow_lcm", diffusers'
    FlowMatch classes, whose trailing spacing a pipeline takes as `sigmas` = 1, 1 - 1/N, .., 1/N.
    spacing: of its timesteps.  eta: TCD's noise.
    original_steps: points of the grid that LCM's and TCD's schedulers cut their steps from.
    timesteps: instead of the scheduler's own.  prediction_type: instead of the base's own.
    """

    scheduler: str
    spacing: str | None = None
    eta: float = 0.0
    original_steps: int | None = None
    timesteps: tuple[int, ...] | None = None
    prediction_type: str | None = None

    def facts(self) -> dict[str, Any]:
        """The settings that differ from the scheduler's or the base's defaults, for a model
        card."""
        return {name: value for name, value in asdict(self).items() if value}

    def on_flow(self) -> Drawing:
        """The same on a rectified flow, for which diffusers has no scheduler with TCD's noise; its
        timesteps are a thousand times t."""
        name = "flow_lcm" if self.scheduler == "lcm" else "flow_euler"
        timesteps = self.timesteps and tuple(t + 1 for t in self.timesteps)
        return Drawing(name, "trailing", timesteps=timesteps, prediction_type=self.prediction_type)


TCD = Drawing("tcd", eta=0.3, original_steps=40)
LCM = Drawing("lcm", original_steps=40)  # x0, then fresh noise: exact for one step, as DMD's
JUMPS = Drawing("ddim", spacing="trailing")  # deterministic, at the points of every grid here
