"""Features of reference images: what distances between sets of images are measured to.

A file `references/NAME/NETWORK.safetensors` in the data folder, or one at any path. It holds
`features` [n, d], and in its metadata the images' name and the network's identity, so that a
distance through another network is refused. Statistics that others published (.npz with mu and
sigma) serve a Frechet distance too; which network made them, nobody can check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.errors import UsageError, brief
from bench.metrics.base import Features
from bench.metrics.frechet import Reference
from bench.metrics.networks.base import Tower
from bench.results import places

HOW = "make it with: python -m bench.run.real_references NAME FOLDER_OF_IMAGES"


@dataclass(frozen=True)
class Sample:
    """features: fp32 [n, d] of the images `name`, seen through the network `extractor`."""

    name: str
    extractor: str
    features: Features

    @cached_property
    def identity(self) -> str:
        """Name, number of images and a hash of the features."""
        digest = hashlib.sha256(np.ascontiguousarray(self.features).tobytes()).hexdigest()[:12]
        return f"{self.name}:n={len(self.features)}:{digest}"

    @cached_property
    def statistics(self) -> Reference:
        """Mean and covariance, for a Frechet distance."""
        return Reference.of(self.features, name=self.name, extractor=self.extractor)

    def save(self, path: Path) -> None:
        """Write a safetensors file; what it is of goes into the metadata."""
        from safetensors.numpy import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"name": self.name, "extractor": self.extractor}
        save_file({"features": np.ascontiguousarray(self.features)}, path, metadata=about)


def locate(metric: str, name: str, tower: Tower) -> Path:
    """The file of a reference: a path, or a name in the data folder. Raises UsageError."""
    given = "/" in name or Path(name).suffix in (".safetensors", ".npz")
    path = Path(name) if given else places.references() / name / f"{tower.label}.safetensors"
    if not path.is_file():
        raise UsageError(f"metric {metric!r}: no reference {path}; {HOW.replace('NAME', name)}")
    return path


def read(metric: str, name: str, tower: Tower) -> Sample:
    """The features of a reference, made by the very network that the metric uses.

    Raises UsageError where it is missing, damaged, or of another network.
    """
    path = locate(metric, name, tower)
    tensors, about = _opened(path)
    features = tensors.get("features")
    if features is None or features.ndim != 2 or not {"name", "extractor"} <= about.keys():
        raise UsageError(f"{path}: holds no features [n, d] with their metadata; {HOW}")
    if about["extractor"] != tower.identity:
        raise UsageError(
            f"metric {metric!r}: {path} was made with {about['extractor']!r}, "
            f"this is {tower.identity!r}; make it again"
        )
    return Sample(about["name"], about["extractor"], features.astype(np.float32))


def statistics(metric: str, name: str, tower: Tower) -> Reference:
    """Mean and covariance of a reference, from features or from published statistics (.npz).

    Raises UsageError as `read`.
    """
    path = locate(metric, name, tower)
    if path.suffix != ".npz":
        return read(metric, name, tower).statistics
    try:
        with np.load(path) as held:
            mu, sigma = (np.asarray(held[key], np.float64) for key in ("mu", "sigma"))
        if sigma.shape != (len(mu), len(mu)):
            raise ValueError(f"mu {mu.shape} and sigma {sigma.shape} do not fit")
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
        why = brief(error, 120)
        raise UsageError(f"{path}: no statistics with mu [d] and sigma [d, d] ({why})") from None
    # How many images they are of, such files do not say; 0 stands for unknown.
    return Reference(path.name, tower.identity, mu, sigma, 0)


def _opened(path: Path) -> tuple[Mapping[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path}: not readable as reference features ({reason})") from None
