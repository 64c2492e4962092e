"""Losses: two tensors in, one value per sample out.

Pure functions: no randomness, no model, no reduction over the batch; computed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Distance = Callable[[Tensor, Tensor], Tensor]
"""(prediction [B, ...], goal [B, ...]) -> [B]."""


def squared_error(prediction: Tensor, goal: Tensor) -> Tensor:
    """mean((prediction - goal)^2) over each sample's elements.

    prediction, goal: [B, ...], one shape.  Returns [B], fp32.
    Raises ValueError where shapes differ.
    """
    return _difference(prediction, goal).square().flatten(1).mean(1)


def pseudo_huber(prediction: Tensor, goal: Tensor, c: float = 0.001) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c) over each sample's elements, d = prediction - goal.

    Element by element, as LCM's trainers do: |d| for |d| >> c, d^2 / 2c below. (iCT's loss of
    the same name is on the norm of a sample's difference.)
    prediction, goal: [B, ...], one shape.  Returns [B], fp32.
    Raises ValueError where shapes differ.
    """
    square = _difference(prediction, goal).square()
    return ((square + c * c).sqrt() - c).flatten(1).mean(1)


def distribution_matching_loss(x: Tensor, x0_fake: Tensor, x0_real: Tensor) -> Tensor:
    """Pull a generated sample from the fake score model's x0 towards the teacher's.

    `pull_loss` of g = (x0_fake - x0_real) / mean|x - x0_real|.
    x: [B, ...], generated.  x0_fake, x0_real: its denoised versions, of one shape; both no
    gradient.  Returns [B], fp32.  Raises ValueError where shapes differ.
    Source: DMD (arXiv 2311.18828) Eq. 7 and 8; the normaliser per sample as in DMD2 (2405.14867).
    """
    return pull_loss(x, _difference(x0_fake, x0_real) / mean_distance(x, x0_real))


def pull_loss(x: Tensor, pull: Tensor) -> Tensor:
    """0.5 mean((x - stop_gradient(x - g))^2): its value says little, its gradient in x is g /
    (elements of a sample).

    x: [B, ...], generated.  pull: g, of its shape.  Returns [B], fp32.
    """
    return 0.5 * squared_error(x, x.detach().float() - pull.detach())


def mean_distance(x: Tensor, x0_real: Tensor, least: float = 1e-6) -> Tensor:
    """mean|x - x0_real| over each sample's elements, no less than `least`, without gradient: what
    distribution matching divides a pull by.

    x, x0_real: [B, ...], one shape.  Returns [B, 1, ...], fp32. Raises ValueError where shapes
    differ.
    """
    scale = _difference(x, x0_real).detach().abs().flatten(1).mean(1)
    return scale.clamp_min(least).view(-1, *[1] * (x.ndim - 1))


def trajectory_matching_loss(
    x: Tensor, x0_fake: Tensor, x0_real: Tensor, c: float = 0.001
) -> Tensor:
    """`pseudo_huber` between x and stop_gradient(x - (x0_fake - x0_real)), divided by mean|x -
    x0_real|: a pull of nearly one size in every element.

    As `distribution_matching_loss`.  Source: the release of TDM (arXiv 2503.06674).
    """
    with torch.no_grad():
        goal, scale = x.float() - _difference(x0_fake, x0_real), mean_distance(x, x0_real)
    return pseudo_huber(x, goal, c) / scale.flatten()


def trajectory_denoising_loss(
    x0_fake: Tensor, x0: Tensor, snr: Tensor, mixed: Tensor, noise: Tensor, most: float = 5.0
) -> Tensor:
    """min(SNR, 5) w mean((x0_fake - x0)^2), w = exp(-mean(mixed^2) / 2) / exp(-mean(noise^2) / 2).

    x_tau is noised from a point of the trajectory, x_tau = alpha x0 + sigma mixed, where `mixed` is
    made of the student's own eps and of fresh noise: w weighs a sample by how likely it would be
    if it had been noised from x0.
    x0_fake, x0, mixed, noise: [B, ...], one shape.  snr: [B], at tau.  Returns [B], fp32.
    Source: the release of TDM (arXiv 2503.06674); min(SNR, 5) of Hang et al. 2023 (2303.09556).
    """
    weights = [-v.float().square().flatten(1).mean(1) / 2 for v in (mixed, noise)]
    ratio = (weights[0] - weights[1]).exp()
    return squared_error(x0_fake, x0) * snr.float().clamp_max(most) * ratio


def reward_hinge(reward: Tensor, target: float) -> Tensor:
    """ReLU(target - reward): zero for a picture that is rated well enough.

    reward: [B], larger is better.  target: alpha_d, in its unit.  Returns [B], fp32.
    Source: Hyper-SD (arXiv 2404.13686), Eq. 13.
    """
    return F.relu(target - reward.float())


def weighted_sum(distance: Tensor, generator: Tensor, weights: tuple[float, float]) -> Tensor:
    """lambda_d distance + lambda_adv generator, a stage's objective for its student.

    distance, generator: a loss and `generator_loss` or the like, of one shape.  Returns that shape.
    Source: Hyper-SD (arXiv 2404.13686), Sec. 3.1; SDXL-Lightning (2402.13929) has the second alone.
    """
    return weights[0] * distance + weights[1] * generator


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)): what a discriminator minimises.

    real, fake: logits, [B].  Returns [B], fp32.  Source: Goodfellow et al. 2014 (1406.2661).
    """
    return F.softplus(-real.float()) + F.softplus(fake.float())


def generator_loss(fake: Tensor) -> Tensor:
    """-log sigmoid(fake), non-saturating: what the generator minimises of the critic's logits.

    fake: logits, [B].  Returns [B], fp32.  Source: Goodfellow et al. 2014 (1406.2661).
    """
    return F.softplus(-fake.float())


def hinge_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """mean(ReLU(1 - real) + ReLU(1 + fake)) over a sample's patches: what PCM's critic minimises.

    real, fake: logits, [B, ...].  Returns [B], fp32.
    Source: Lim and Ye 2017 (1705.02894); PCM (2405.18407), Eq. 9.
    """
    return (F.relu(1 - real.float()) + F.relu(1 + fake.float())).flatten(1).mean(1)


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """mean(ReLU(1 - fake)) over a sample's patches: zero from a logit of 1 on, unlike -fake.

    fake: logits, [B, ...].  Returns [B], fp32.  Source: the release of PCM (2405.18407).
    """
    return F.relu(1 - fake.float()).flatten(1).mean(1)


DISTANCES: dict[str, Distance] = {"mse": squared_error, "huber": pseudo_huber}


def _difference(prediction: Tensor, goal: Tensor) -> Tensor:
    if prediction.shape != goal.shape:
        raise ValueError(f"shapes differ: {tuple(prediction.shape)} and {tuple(goal.shape)}")
    return prediction.float() - goal.float()
