"""The autoencoder's latents: whitening turns them and leaves every reconstruction as it was."""

from __future__ import annotations

import numpy as np
import torch

from hypersd.pictures import to_unit
from hypersd.shapes import vae
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene


def test_whitened_latents_are_white_and_tell_the_same():
    torch.manual_seed(0)
    network = vae.build([8, 12, 16], 1).eval()
    images = np.stack([render(sample_scene("train", i)) for i in range(60)])
    with torch.no_grad():
        before = network.encode(to_unit(images)).latent_dist
        pixels = network.decode(before.mean).sample
        vae.whiten(network, images)
        after = network.encode(to_unit(images)).latent_dist
        values = after.mean.transpose(0, 1).flatten(1)
        torch.testing.assert_close(network.decode(after.mean).sample, pixels, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.cov(values), torch.eye(4), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(values.mean(1), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(after.logvar, before.logvar)
