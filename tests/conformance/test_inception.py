"""Inception's features against torch-fidelity's and clean-fid's own networks, same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.metrics import extractor
from bench.metrics.networks.base import loaded
from bench.metrics.networks.inception import Inception, architecture
from tests.conformance import seeded


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickled state dict like the published one, with made-up values.

    Larger kernels and smaller shifts than elsewhere: else nothing of the picture is left after 90
    layers, and any resizing would do.
    """
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    state = seeded.state(architecture().state_dict())
    for name, value in state.items():
        if value.ndim == 4:
            value *= 1.6
        if name.endswith(("bias", "running_mean")):
            value *= 0.1
    torch.save(state, path)
    return path


def features(weights: Path, resize: str, images: np.ndarray) -> np.ndarray:
    tower = Inception(resize=resize, weights=str(weights))
    return extractor(tower.name, "cpu")(images, [""] * len(images))


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() < 1e-4 * np.abs(b).max())


def test_features_are_torch_fidelitys(weights: Path) -> None:
    """At 299 pixels, where nobody resizes."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    images = seeded.pictures(2, 299, 299)
    with torch.inference_mode():
        expected = theirs(torch.tensor(images).permute(0, 3, 1, 2))[0].numpy()
    for resize in ("clean", "patch"):
        assert close(features(weights, resize, images), expected)


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize(
    ("resize", "theirs", "normalised"),
    [("clean", "clean", False), ("pytorch_fid", "legacy_pytorch", True)],
)
def test_features_are_clean_fids(weights: Path, resize: str, theirs: str, normalised: bool) -> None:
    """Its resizer in front of its network. The resizing of pytorch-fid it calls "legacy"; that
    network takes 0..1 and centres it at a half, the clean one centres 0..255 at 128."""
    from cleanfid.resize import build_resizer

    images = seeded.pictures(1, 400, 500)
    x = torch.tensor(build_resizer(theirs)(images[0])).permute(2, 0, 1)[None]
    with torch.inference_mode():
        shown = x / 255 if normalised else (x - 128) / 128
        expected = _network(weights, normalised)(shown)[0][:, :, 0, 0].numpy()
    assert close(features(weights, resize, images), expected)
    other = "clean" if resize == "pytorch_fid" else "pytorch_fid"
    assert not close(features(weights, other, images), expected)


def test_on_a_gpu_it_runs_by_cudnn_without_tensor_float(weights: Path) -> None:
    """`torch.backends.cudnn.flags` switches off what it is not told."""
    tower = loaded(Inception(weights=str(weights)))
    seen = []
    look = lambda *_: seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))  # noqa: E731
    hook = tower.model.Conv2d_1a_3x3.register_forward_hook(look)
    try:
        tower(torch.zeros(1, 299, 299, 3, dtype=torch.uint8), [""])
    finally:
        hook.remove()
    assert seen == [(True, False)]


def _network(weights: Path, normalised: bool) -> torch.nn.Module:
    from cleanfid import inception_pytorch

    with pytest.MonkeyPatch.context() as patch:
        state = torch.load(weights, weights_only=True)
        patch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *a, **k: state)
        found: torch.nn.Module = inception_pytorch.InceptionV3(
            [3], resize_input=False, normalize_input=normalised
        )
    return found.eval()


def test_other_weights_are_one_line(tmp_path: Path) -> None:
    torch.save({"conv": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"other\.pth: not Inception's weights"):
        loaded(Inception(weights=str(tmp_path / "other.pth")))
    with pytest.raises(UsageError, match=r"resize=cleen; did you mean 'clean'"):
        _ = Inception(resize="cleen").identity
