"""References of distances: features of reference images, or their mean and covariance.

A reference is a safetensors file with `features` [n, d], or with `mu` [d] and `sigma` [d, d], whose
metadata names the images and the network's identity, so that a distance through another network is
refused. Published statistics (.npz with mu and sigma) serve a Frechet distance too; their network
cannot be checked.

Those of the world ship with its weights, as `reference/NAME.safetensors`, a set for each split of
prompts: splits share no combination of attributes, so a distance across splits mostly measures the
splits. Other references are in the data folder, as `references/NAME/NETWORK.safetensors`, or at any
path; those that a run made (`bench.run.wanted_references`) have a hash after the network's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UsageError, brief
from bench.metrics.base import Features
from bench.metrics.networks.base import Network
from bench.metrics.networks.world import ShapesNetwork
from bench.results import places
from bench.statistics.result import Array
from hypersd.file_kinds import NUMPY, SAFETENSORS, mistaken
from hypersd.whole_files import written_whole

Of = Literal["real", "teacher", "real_features"]
TEST = "test"
SPLITS = (TEST, "validation")  # of prompts that suites draw
REAL = "coco2014_5k"  # the real images where a suite on published networks names none


class NoReference(UsageError):
    """A metric's reference is not on this machine."""


@dataclass(frozen=True)
class ReferenceStatistics:
    """Mean and covariance of a reference set's features.

    name: what the images are.  extractor: identity of the network they were seen through.
    mu: float64 [d]; sigma: float64 [d, d], divided by n - 1; n: images, 0 where unknown.
    made_of: as of `ReferenceFeatures`.
    """

    name: str
    extractor: str
    mu: Array
    sigma: Array
    n: int
    made_of: str = ""

    @classmethod
    def of(
        cls, features: ArrayLike, *, name: str, extractor: str, made_of: str = ""
    ) -> ReferenceStatistics:
        """The statistics of features [n, d]. Raises ValueError for fewer than two images."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"a reference needs features [n >= 2, d], got {x.shape}")
        mu, sigma = x.mean(axis=0), np.cov(x, rowvar=False, ddof=1)
        return cls(name, extractor, mu, sigma, len(x), made_of)

    @cached_property
    def identity(self) -> str:
        """Name, number of images, and what they are or else a hash of the statistics."""
        hash_ = hashlib.sha256(self.mu.tobytes() + self.sigma.tobytes()).hexdigest()[:12]
        return f"{self.name}:n={self.n}:{self.made_of or hash_}"

    @cached_property
    def root(self) -> Array:
        """R with sigma = R R^T: [d, rank]."""
        values, vectors = np.linalg.eigh(self.sigma)
        kept = not_noise(values)
        root: Array = vectors[:, kept] * np.sqrt(values[kept])
        return root

    def save(self, path: Path) -> None:
        """Write a safetensors file; its metadata holds name, extractor and n."""
        about = {"name": self.name, "extractor": self.extractor, "n": str(self.n)}
        _write(path, {"mu": self.mu, "sigma": self.sigma}, about)


@dataclass(frozen=True)
class ReferenceFeatures:
    """features: fp32 [n, d] of the images `name`, seen through the network `extractor`.

    made_of: which images they are, in a hash, where that is known: features differ in their last
    digits between devices, and one reference would be as many as there are machines.
    """

    name: str
    extractor: str
    features: Features
    made_of: str = ""

    @cached_property
    def identity(self) -> str:
        """Name, number of images, and what they are or else a hash of the features."""
        hash_ = hashlib.sha256(np.ascontiguousarray(self.features).tobytes()).hexdigest()[:12]
        return f"{self.name}:n={len(self.features)}:{self.made_of or hash_}"

    @cached_property
    def statistics(self) -> ReferenceStatistics:
        """Mean and covariance, for a Frechet distance."""
        return ReferenceStatistics.of(
            self.features, name=self.name, extractor=self.extractor, made_of=self.made_of
        )

    def save(self, path: Path) -> None:
        """Write a safetensors file; its metadata holds name, extractor and what it is made of."""
        about = {"name": self.name, "extractor": self.extractor, "made_of": self.made_of}
        _write(path, {"features": self.features}, {k: v for k, v in about.items() if v})


def not_noise(values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """A mask of the ascending eigenvalues of a covariance that are above rounding noise."""
    found: NDArray[np.bool_] = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return found


def statistics(
    metric: str, network: Network, settings: Mapping[str, str], of: Of = "real"
) -> ReferenceStatistics:
    """Mean and covariance of a metric's reference: `reference` of its settings, else the usual one.

    Raises NoReference, UsageError where it is damaged or of another network.
    """
    found = _located(metric, network, settings, of)
    return found.statistics if isinstance(found, ReferenceFeatures) else found


def features(metric: str, network: Network, settings: Mapping[str, str]) -> ReferenceFeatures:
    """The features of a metric's reference. Raises UsageError as `statistics`, and for a file of
    mean and covariance alone."""
    found = _located(metric, network, settings, "real_features")
    if isinstance(found, ReferenceFeatures):
        return found
    raise UsageError(f"metric {metric!r}: {found.name} is not readable as reference features, it "
                     "holds their mean and covariance alone")  # fmt: skip


def of_split(of: str, split: str) -> str:
    """The name of the world's reference for a split of prompts."""
    return of if split == TEST else f"{of}_{split}"


def path_of(network: Network, name: str) -> Path:
    """The path of a named reference for a network."""
    from hypersd.shapes.weights import FOLDER

    if isinstance(network, ShapesNetwork):
        return FOLDER / "reference" / f"{name}.safetensors"
    return places.references() / name / f"{network.label}.safetensors"


def is_path(name: str) -> bool:
    """Whether a setting `reference` is a file's path, not a name."""
    return "/" in name or Path(name).suffix in (".safetensors", ".npz")


def read(path: Path) -> ReferenceStatistics | ReferenceFeatures:
    """A reference's file; `extractor` is empty where it does not say which network made it.

    Raises UsageError for a missing or damaged file.
    """
    return _of_others(path) if path.suffix == ".npz" else _own(path)


def _located(
    metric: str, network: Network, settings: Mapping[str, str], of: Of
) -> ReferenceStatistics | ReferenceFeatures:
    is_worlds = isinstance(network, ShapesNetwork)
    usual = of_split(of, settings.get("split", TEST)) if is_worlds else _published(of)
    name = settings.get("reference", usual)
    path = Path(name) if is_path(name) else path_of(network, name)
    how = (f"python -m bench.run.references {usual}" if is_worlds
           else f"python -m bench.run.real_references {name} FOLDER_OF_IMAGES")  # fmt: skip
    if not path.is_file():
        raise NoReference(f"metric {metric!r}: no reference {path}; make it with: {how}")
    found = read(path)
    if is_worlds and "split" in settings:
        _refuse_other_split(metric, found.name, settings["split"], usual)
    if not found.extractor:
        return replace(found, extractor=network.identity)
    if found.extractor != network.identity:
        raise UsageError(
            f"metric {metric!r}: reference {path} was made with {found.extractor!r}, the network "
            f"here is {network.identity!r}; make it again with: {how}"
        )
    return found


def _published(of: Of) -> str:
    return of if of == "teacher" else REAL


def _refuse_other_split(metric: str, name: str, split: str, usual: str) -> None:
    """Raise UsageError where a reference of the world is of another split than the prompts."""
    known = {of_split(of, other): other for of in get_args(Of) for other in SPLITS}
    if known.get(name, split) != split:
        raise UsageError(
            f"metrics.{metric}.reference: {name!r} is of shapes/{known[name]}, the prompts are of "
            f"shapes/{split}, and splits share no combinations; valid: {usual}, or none at all"
        )


def _own(path: Path) -> ReferenceStatistics | ReferenceFeatures:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        name, extractor = about["name"], about["extractor"]
        if "features" in held and held["features"].ndim == 2:
            features = held["features"].astype(np.float32)
            if not len(features) or not np.isfinite(features).all():
                raise ValueError("features that are not finite, or none")
            return ReferenceFeatures(name, extractor, features, about.get("made_of", ""))
        return _checked(
            ReferenceStatistics(name, extractor, held["mu"], held["sigma"], int(about["n"]))
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if said := mistaken(path, SAFETENSORS):
            raise UsageError(f"{path}: {said}") from None
        raise UsageError(
            f"{path}: not readable as a reference ({brief(error, 120)}); expected safetensors with "
            "features [n, d], or float64 mu [d] and sigma [d, d], and their metadata"
        ) from None


def _of_others(path: Path) -> ReferenceStatistics:
    try:
        with np.load(path) as held:
            mu, sigma = (_real(held[key]) for key in ("mu", "sigma"))
        return _checked(ReferenceStatistics(path.name, "", mu, sigma, 0))
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
        if said := mistaken(path, NUMPY):
            raise UsageError(f"{path}: {said}") from None
        why = brief(error, 120)
        raise UsageError(f"{path}: no statistics with mu [d] and sigma [d, d] ({why})") from None


def _checked(found: ReferenceStatistics) -> ReferenceStatistics:
    """Raises ValueError where they are no mean and covariance: of one dimension, finite, sigma
    symmetric with variances from 0 on, and n a count (0: unknown)."""
    mu, sigma = found.mu, found.sigma
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or mu.dtype != np.float64:
        kinds = f"mu {mu.shape} {mu.dtype}, sigma {sigma.shape} {sigma.dtype}"
        raise ValueError(f"{kinds} do not fit")
    if not np.isfinite(mu).all() or not np.isfinite(sigma).all():
        raise ValueError("mu or sigma is not finite")
    near = 1e-6 * np.abs(sigma).max(initial=0.0)  # what reckoning in another order leaves
    if not np.allclose(sigma, sigma.T, rtol=0, atol=near) or (np.diag(sigma) < -near).any():
        raise ValueError("sigma is no covariance: not symmetric, or of negative variances")
    if found.n < 0:
        raise ValueError(f"n={found.n}")
    return found


def _real(held: NDArray[Any]) -> NDArray[np.float64]:
    """The array as float64. Raises ValueError for complex numbers (their imaginary part would be
    lost) and for other types."""
    if held.dtype.kind not in "fiu":
        raise ValueError(f"holds {held.dtype}")
    return held.astype(np.float64)


def _write(path: Path, tensors: Mapping[str, Any], about: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, beside, metadata=about)
