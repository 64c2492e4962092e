"""The share of votes between two contestants by a logistic mixed model, raters x prompts crossed.

    P(rater r votes for a on prompt q) = logistic(mu + sigma_r x[r] + sigma_q y[q]),  x, y ~ N(0, 1)

A tie, or both bad, is half a vote for either side. The estimate is the share in the population of
raters and prompts, as in `shares` (Zeger, Liang and Albert 1988, within 0.01):

    share = logistic(mu / sqrt(1 + c^2 (sigma_r^2 + sigma_q^2))),   c = 16 sqrt(3) / (15 pi)

x and y are integrated out by Laplace's approximation, as lme4's glmer does, with the next order for
prompts, which often have a vote or two each (Shun and McCullagh 1995, their own terms alone):
without it a share of 75 % came out as 80 %. The sigmas are not set to their best fit, which with
few raters is often 0: they and the share are summed over a grid (Rue, Martino and Chopin 2009). All
three have flat priors, sigma_r to 6, sigma_q to 2: with few raters the flat one is the careful one
(Gelman 2006), and so is a flat share, one vote for either side.

docs/study.md says when to read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.study.strengths import Array, Ballots, codes

C2 = (16 * math.sqrt(3) / (15 * math.pi)) ** 2
SPACED = ((np.arange(7) + 0.5) / 7) ** 2  # closer together near 0: each stands for a span that
SPANS = np.log(SPACED) / 2  # grows with its square root
MOST = 6.0, 2.0  # of sigma_r and sigma_q
REACH, NODES, FINE = 8.0, 17, 4001  # the grid of the share's log-odds, and its interpolation
STEPS, LONGEST = 12, 3.0  # of Newton; no log-odds change by more in one


@dataclass(frozen=True)
class Mixed:
    """A share's posterior: median, 95 % interval, and p, twice the chance of the other side."""

    share: float
    low: float
    high: float
    p: float


def mixed(ballots: Ballots) -> Mixed:
    """Share of votes for the first of a pair, ties half.

    All votes must be of one pair, in one order. With one rater the interval is for new prompts
    only, with one prompt for new raters only.
    """
    from scipy.interpolate import CubicSpline
    from scipy.special import expit

    nodes, logs = _posterior(ballots)
    fine = np.linspace(nodes[0], nodes[-1], FINE)
    density = CubicSpline(nodes, logs)(fine)
    mass = np.exp(density - density.max())
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    low, middle, high = expit(np.interp([0.025, 0.5, 0.975], below, fine))
    behind = float(np.interp(0.0, fine, below))
    return Mixed(float(middle), float(low), float(high), 2 * min(behind, 1 - behind))


def _posterior(ballots: Ballots) -> tuple[Array, Array]:
    """(log-odds of the share, log of their density but for a constant)."""
    from scipy.special import logsumexp

    won, lost = ballots.won.sum() + 1, (1 - ballots.won).sum() + 1
    nodes = np.log(won / lost) + REACH * np.sinh(np.linspace(-4, 4, NODES)) / math.sinh(4)
    (sigmas_r, spans_r), (sigmas_q, spans_q) = (
        (most * SPACED, SPANS) if len(np.unique(group)) > 1 else (np.zeros(1), np.zeros(1))
        for group, most in zip((ballots.rater, ballots.prompt), MOST, strict=True)
    )
    grid = np.meshgrid(nodes, sigmas_r, sigmas_q, indexing="ij")
    odds, sigma_r, sigma_q = (axis.ravel() for axis in grid)
    mu = odds * np.sqrt(1 + C2 * (sigma_r**2 + sigma_q**2))
    logs = log_likelihood(ballots, mu, sigma_r, sigma_q).reshape(grid[0].shape)
    logs = logsumexp(logs + spans_r[:, None] + spans_q, axis=(1, 2))
    return nodes, logs + nodes - 2 * np.logaddexp(0, nodes)


def log_likelihood(ballots: Ballots, mu: Array, sigma_r: Array, sigma_q: Array) -> Array:
    """Log likelihoods of G models of a pair's votes, x and y integrated out: [G].  mu, sigma_r,
    sigma_q: [G]."""
    models = Models(ballots, mu[:, None], sigma_r[:, None], sigma_q[:, None])
    at = mode(models)
    return at.laplace + models.next_order(at)


def mode(models: Models) -> Point:
    """Where votes and x, y together are likeliest, by Newton's steps."""
    x, y = (np.zeros((len(models.mu), size)) for size in (models.raters, models.prompts))
    at = models.at(x, y)
    for _ in range(STEPS):
        dx, dy = at.step()
        longest = np.abs(models.effect(dx, dy)).max(axis=1, keepdims=True)
        short = np.minimum(1, LONGEST / np.maximum(longest, 1e-9))
        x, y = x + short * dx, y + short * dy
        at = models.at(x, y)
        if longest.max() < 1e-4:
            break
    return at


@dataclass(frozen=True)
class Point:
    """G models at their x [G, R] and y [G, Q].

    p: of a vote for a, [G, C] by question.  value: log(likelihood x density of x, y), [G].  by_x,
    by_y: its derivatives.  x_x, y_y (diagonal), x_y [G, R, Q]: minus the second ones.
    """

    p: Array
    value: Array
    by_x: Array
    by_y: Array
    x_x: Array
    y_y: Array
    x_y: Array

    @property
    def schur(self) -> Array:
        """Second derivatives by x where y follows: [G, R, R]."""
        own = self.x_x[:, :, None] * np.eye(self.x_x.shape[1])
        return np.asarray(own - (self.x_y / self.y_y[:, None]) @ self.x_y.transpose(0, 2, 1))

    @property
    def laplace(self) -> Array:
        """Log of the integral over x and y: [G]."""
        log_determinant = np.linalg.slogdet(self.schur)[1] + np.log(self.y_y).sum(axis=1)
        return np.asarray(self.value - log_determinant / 2)

    def step(self) -> tuple[Array, Array]:
        """Newton's, in x and y."""
        left = self.by_x[..., None] - self.x_y @ (self.by_y / self.y_y)[..., None]
        dx = np.asarray(np.linalg.solve(self.schur, left), np.float64)
        return dx[..., 0], (self.by_y - (self.x_y.transpose(0, 2, 1) @ dx)[..., 0]) / self.y_y


class Models:
    """G models (mu, sigma_r, sigma_q: [G, 1]) of the same votes, added up by question."""

    def __init__(self, ballots: Ballots, mu: Array, sigma_r: Array, sigma_q: Array) -> None:
        self.mu, self.sigma_r, self.sigma_q = mu, sigma_r, sigma_q
        rater, prompt = codes(ballots.rater), codes(ballots.prompt)
        self.raters, self.prompts = int(rater.max()) + 1, int(prompt.max()) + 1
        asked, vote = np.unique(rater * self.prompts + prompt, return_inverse=True)
        self.rater, self.prompt = np.divmod(asked, self.prompts)
        self.votes, self.won = np.bincount(vote).astype(float), np.bincount(vote, ballots.won)
        self.by_rater = np.eye(self.raters)[self.rater]
        self.by_prompt = np.eye(self.prompts)[self.prompt]

    def effect(self, x: Array, y: Array) -> Array:
        """The effect of raters and prompts on the log-odds of each question."""
        return self.sigma_r * x[:, self.rater] + self.sigma_q * y[:, self.prompt]

    def at(self, x: Array, y: Array) -> Point:
        """The models at x and y."""
        from scipy.special import expit

        odds = self.mu + self.effect(x, y)
        p = expit(odds)
        rest, weight = self.won - self.votes * p, self.votes * p * (1 - p)
        value = (self.won * odds - self.votes * np.logaddexp(0, odds)).sum(axis=1)
        x_y = np.zeros((len(p), self.raters, self.prompts))
        x_y[:, self.rater, self.prompt] = self.sigma_r * self.sigma_q * weight
        return Point(
            p=p,
            value=value - 0.5 * ((x**2).sum(axis=1) + (y**2).sum(axis=1)),
            by_x=self.sigma_r * (rest @ self.by_rater) - x,
            by_y=self.sigma_q * (rest @ self.by_prompt) - y,
            x_x=1 + self.sigma_r**2 * (weight @ self.by_rater),
            y_y=1 + self.sigma_q**2 * (weight @ self.by_prompt),
            x_y=x_y,
        )

    def next_order(self, at: Point) -> Array:
        """The next-order correction of Laplace's approximation, from the third and fourth
        derivatives in y: [G]."""
        weight = self.votes * at.p * (1 - at.p)
        third = self.sigma_q**3 * ((weight * (1 - 2 * at.p)) @ self.by_prompt)
        fourth = self.sigma_q**4 * ((weight * (1 - 6 * at.p * (1 - at.p))) @ self.by_prompt)
        lacking = 5 * third**2 / at.y_y**3 / 24 - fourth / at.y_y**2 / 8
        return np.asarray(lacking.sum(axis=1))
