"""The Frechet distance against scipy, clean-fid, torch-fidelity and (where installed) pytorch-fid:
`python -m benchmarks.frechet [dimension=2048] [n=5000,50000]`.

Features are correlated and rectified, as Inception's are. The peers get the same features and the
reference's mean and covariance; ours gets the reference with its root, which a run computes once.
Needs torch_fidelity for its row.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from bench.metrics.frechet import distance, frechet
from bench.metrics.references import ReferenceStatistics
from benchmarks.measure import Row, publish, seconds

REFERENCE = 50_000
MOST_ERROR = 5.0  # seconds


def features(n: int, dimension: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Rectified mixtures of correlated Gaussians: [n, dimension] float32, a falling spectrum."""
    mixing = np.random.default_rng(0).standard_normal((dimension, dimension)).astype(np.float32)
    mixing *= (np.arange(1, dimension + 1, dtype=np.float32) ** -0.7)[:, None]
    rng = np.random.default_rng(seed)
    parts = [
        np.maximum(rng.standard_normal((min(5000, n - i), dimension), dtype=np.float32) @ mixing
                   + np.float32(0.3 + shift), 0)
        for i in range(0, n, 5000)
    ]  # fmt: skip
    return np.concatenate(parts)


def trace_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """tr (a b)^(1/2) as pytorch-fid has it."""
    from scipy import linalg

    return float(np.trace(linalg.sqrtm(a @ b).real))


def trace_by_eigh(a: np.ndarray, root: np.ndarray) -> float:
    """The same by the symmetric form R^T a R."""
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(root.T @ a @ root), 0, None)).sum())


def clean_fid(x: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """clean-fid's own function, on the sample's statistics as it computes them."""
    from cleanfid.fid import frechet_distance

    return float(frechet_distance(x.mean(axis=0), np.cov(x, rowvar=False), mu, sigma))


def torch_fidelity(x: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """torch-fidelity's own functions."""
    from torch import from_numpy
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    mine = fid_features_to_statistics(from_numpy(x))
    theirs = {"mu": mu.astype(mine["mu"].dtype), "sigma": sigma.astype(mine["sigma"].dtype)}
    found = fid_statistics_to_metric(mine, theirs, verbose=False)
    return float(found[KEY_METRIC_FID])


def pytorch_fid(x: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """pytorch-fid's own function."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    mean, covariance = x.mean(axis=0), np.cov(x, rowvar=False)
    return float(calculate_frechet_distance(mean, covariance, mu, sigma))


PEERS = {"clean-fid": clean_fid, "torch-fidelity": torch_fidelity, "pytorch-fid": pytorch_fid}


def main(arguments: list[str]) -> None:
    """Print and write the rows."""
    given = dict(argument.split("=") for argument in arguments)
    dimension = int(given.get("dimension", 2048))
    sizes = [int(n) for n in given.get("n", "5000,50000").split(",")]
    other = features(REFERENCE, dimension, seed=1)
    reference = ReferenceStatistics.of(other, name="synthetic", extractor="synthetic")
    began = time.perf_counter()
    root = reference.root
    print(f"the reference's root, once per run: {time.perf_counter() - began:.1f} s")
    sample = np.cov(features(sizes[0], dimension, 2, 0.05), rowvar=False)
    ours, mine = seconds(lambda: trace_by_eigh(sample, root), 3)
    theirs, found = seconds(lambda: trace_by_scipy(sample, reference.sigma), 1)
    note = f"relative difference {abs(mine / found - 1):.1e}"
    rows = [Row(f"trace term, d = {dimension}", ours, "scipy sqrtm", theirs, note)]
    for n in sizes:
        rows += against_peers(features(n, dimension, 2, 0.05), reference)
    publish("frechet", rows)


def against_peers(x: np.ndarray, reference: ReferenceStatistics) -> list[Row]:
    """The distance beside every peer's; then what its standard error adds, which no peer has."""
    ours, value = seconds(lambda: distance(x, reference), 3)
    whole, _ = seconds(lambda: frechet(x, reference), 3)
    rows = []
    for name, peer in PEERS.items():
        try:
            theirs, found = seconds(lambda call=peer: call(x, reference.mu, reference.sigma), 3)
        except ImportError:
            print(f"{name}: not installed, left out")
            continue
        note = f"relative difference {abs(value / found - 1):.1e}"
        rows.append(Row(f"distance, n = {len(x):,}", ours, name, theirs, note))
    rows.append(Row(f"its standard error, n = {len(x):,}", whole - ours, "asked: under", MOST_ERROR,
                    f"both together {whole:.2f} s"))  # fmt: skip
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
