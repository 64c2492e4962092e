"""The mixed model against GPBoost, exact integrals and Bayes' own; and in a report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp
from scipy.stats import beta

from bench import cli
from bench.study import sections
from bench.study.desk import Desk
from bench.study.mixed import Models, log_likelihood, mixed, mode
from bench.study.simulated_raters import run as let_vote
from bench.study.store import VoteStore
from bench.study.strengths import Ballots

# Votes of six raters on ten prompts each, of twenty.
VOTES = "110111011110101101111011010110011010001110110111101011010100"


def two(won: list[float], raters: list[int], prompts: list[int]) -> Ballots:
    """Votes between contestants 0 and 1."""
    n = len(won)
    ids = (np.zeros(n, np.int64), np.ones(n, np.int64))
    return Ballots(*ids, np.array(won, float), np.array(raters), np.array(prompts))


def crossed() -> Ballots:
    places = range(len(VOTES))
    return two([float(v) for v in VOTES], [i // 10 for i in places], [7 * i % 20 for i in places])


def logs(ballots: Ballots, *models: tuple[float, float, float]) -> list[float]:
    return list(log_likelihood(ballots, *np.array(models).T))


def test_the_likelihood_is_gpboosts() -> None:
    """GPBoost 1.8.0, GPModel(group_data=[rater, prompt], likelihood="bernoulli_logit"): minus its
    neg_log_likelihood at these means and standard deviations."""
    models = [(0.0, 0.5, 0.5), (0.7, 1.0, 0.5), (0.5, 2.0, 1.0), (1.4, 0.6, 3.0)]
    reference = [-41.477292, -41.677970, -44.582356, -45.445659]
    columns = [np.array(column)[:, None] for column in zip(*models, strict=True)]
    assert mode(Models(crossed(), *columns)).laplace == pytest.approx(reference, abs=1e-5)


def test_the_likelihood_is_near_the_exact_integral() -> None:
    """Three raters on four prompts, by quadrature over all of x and each y."""
    won = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 0]], float)
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    weights = np.log(weights / weights.sum())
    x = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), -1).reshape(-1, 3)
    exact = sum(np.meshgrid(weights, weights, weights, indexing="ij")).ravel()
    odds = 0.4 + 0.5 * x[:, :, None] + 0.5 * nodes  # [x, rater, y]
    for mine in won.T[:, None, :, None]:
        votes = (mine * odds - np.logaddexp(0, odds)).sum(axis=-2)
        exact = exact + logsumexp(votes + weights, axis=-1).ravel()
    r, q = np.indices(won.shape)
    ballots = two(list(won.ravel()), list(r.ravel()), list(q.ravel()))
    assert logs(ballots, (0.4, 0.5, 0.5)) == pytest.approx([logsumexp(exact)], abs=0.02)


def test_without_spreads_it_is_the_binomial_likelihood() -> None:
    won = crossed().won
    p = expit(0.7)
    expected = won.sum() * np.log(p) + (1 - won).sum() * np.log(1 - p)
    assert logs(crossed(), (0.7, 0.0, 0.0)) == pytest.approx([expected])


@pytest.mark.parametrize("ahead", [230, 300, 396])
def test_one_rater_with_a_vote_a_prompt_has_the_interval_of_a_share(ahead: int) -> None:
    found = mixed(two([1.0] * ahead + [0.0] * (400 - ahead), [0] * 400, list(range(400))))
    alone = beta(ahead + 1, 401 - ahead)
    low, middle, high = alone.ppf([0.025, 0.5, 0.975])
    assert (found.low, found.share, found.high) == pytest.approx((low, middle, high), abs=0.01)
    assert found.p == pytest.approx(2 * alone.cdf(0.5), rel=0.5, abs=1e-9)


def test_raters_count_and_not_their_votes() -> None:
    """Sixty votes, all for a: of two raters they say little, of ten enough."""

    def unanimous(raters: int) -> float:
        return mixed(two([1.0] * 60, [i % raters for i in range(60)], list(range(60)))).p

    assert unanimous(2) > 0.02 > unanimous(3) > 0.002 > unanimous(5) > 1e-5 > unanimous(10)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7), st.sampled_from([0.0, 0.5, 1.0])),
                min_size=2, max_size=24))  # fmt: skip
def test_either_side_may_be_called_the_first(votes: list[tuple[int, int, float]]) -> None:
    raters, prompts, won = (list(column) for column in zip(*votes, strict=True))
    one, other = mixed(two(won, raters, prompts)), mixed(two([1 - w for w in won], raters, prompts))
    assert 0 < one.low < one.share < one.high < 1 and 0 <= one.p <= 1
    assert (other.low, other.share, other.high) == pytest.approx(
        (1 - one.high, 1 - one.share, 1 - one.low), abs=2e-3
    )
    assert other.p == pytest.approx(one.p, abs=5e-3)
    assert (one.p < 0.05) == (not one.low <= 0.5 <= one.high)


def test_a_report_has_the_mixed_model_where_it_is_asked_for(
    desk: Desk, store: VoteStore, run: Path, study_on_page: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert cli.main(["task=report", f"run={run}", "mixed_model=true"]) == 2
    assert "has no votes" in capsys.readouterr().err
    let_vote(desk, votes=20, raters=4)
    assert "mixed model" not in study_on_page(run)
    assert cli.main(["task=report", f"run={run}", "mixed_model=true"]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    found = sections.study_section(run, mixed_model=True)
    assert found is not None and "by the mixed model" in page and "Mixed model:" in page
    assert 'aria-label="Pairs by the mixed model (simulated)"' in page
    pdfium = pytest.importorskip("pypdfium2")
    with pdfium.PdfDocument(run / "report.pdf") as opened:
        whole = "".join(p.get_textpage().get_text_bounded() for p in opened)
    names = found.panels[0].pairs[0]
    row = rf"{names.a}\s*{names.b}\s+\d+ %\s+\d+ %\s+\["  # no name runs into another column
    assert re.search(row, whole.replace("\u200b", ""))
    for pair in found.panels[0].pairs:
        assert (pair.mixed is None) == (pair.votes < 2), "which pairs are voted on is drawn"
        if pair.mixed is None:
            continue
        assert f"[{100 * pair.mixed.low:.0f} %, {100 * pair.mixed.high:.0f} %]" in page


def test_the_mixed_model_goes_with_the_report_of_one_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    for words, said in (
        (["task=study", f"run={run}", "mixed_model=true"], "mixed_model: goes with task=report"),
        (["task=report", f"runs=[{run},{other}]", "mixed_model=true"], "goes with run=DIR"),
        (["task=report", f"run={run}", "mixed_model=maybe"], "mixed_model"),
    ):
        assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
