"""The SSIM autoencoder: its layers against the papers', its map against the similarity, and what training is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.methods.ssim_autoencoder import SSIMAutoencoder, layers_for
from offnormal.networks.similarity import structural_similarity

SIDE = 32
RNG = np.random.default_rng(0)


def built(shape: tuple[int, ...], **changes: Any) -> Any:
    detector = SSIMAutoencoder(**changes)
    detector.planned_epochs_ = 1
    torch.manual_seed(0)
    return detector.build(shape)


def test_the_layers_are_the_papers() -> None:
    network = built((1, 128, 128))
    convolutions = [m for m in network.encoder if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in convolutions] == [
        (32, 4, 2, 1), (32, 4, 2, 1), (32, 3, 1, 1), (64, 4, 2, 1), (64, 3, 1, 1), (128, 4, 2, 1), (64, 3, 1, 1),
        (32, 3, 1, 1),
    ]  # fmt: skip
    upward = [m for m in network.decoder if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in upward] == [64, 128, 64, 64, 32, 32, 32, 1]
    # A convolution of 8×8 on a grid of 8×8 is one linear layer, and so is its transpose.
    linear = [m for chain in (network.encoder, network.decoder) for m in chain if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(32 * 8 * 8, 100), (100, 32 * 8 * 8)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    assert isinstance(network.decoder[-1], nn.ConvTranspose2d)  # linear
    assert layers_for(256) == ((32, 4, 2), *layers_for(128))
    for side in (8, 15, 32, 100, 256):
        shape = (1, side, side + 3)
        assert built(shape).reconstruct(torch.rand(1, *shape)).shape == (1, *shape)


@pytest.mark.parametrize(("constants", "expected"), [("wang", None), ("paper", (0.01, 0.03))])
def test_the_map_is_one_minus_the_similarity(constants: str, expected: Any) -> None:
    network = built((1, SIDE, SIDE), ssim_constants=constants).eval()
    x = torch.rand(3, 1, SIDE, SIDE)
    with torch.no_grad():
        found, rebuilt = network.score_map(x), network.reconstruct(x)
    if expected is None:
        similarity = structural_similarity(x, rebuilt)
    else:  # the formula with the constants as they are
        from offnormal.networks.similarity import similarity_terms

        # Scaled by s, pixels within [0, s] with c·s² give the same: c₁ = 0.01 is Wang's 0.0001 at s = 0.1.
        luminance = similarity_terms(x * 0.1, rebuilt * 0.1)[0]
        structure = similarity_terms(x * 0.03**0.5, rebuilt * 0.03**0.5)[1]
        similarity = (luminance * structure).mean(1)
    torch.testing.assert_close(found, 1 - similarity, atol=2e-5, rtol=0)
    torch.testing.assert_close(network.score(x), found.double().mean((1, 2)))


def test_color_is_compared_in_grey_by_structure_and_in_color_by_squares() -> None:
    x = torch.rand(2, 3, 16, 16)
    grey = built((3, 16, 16)).eval()
    weighted = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    torch.testing.assert_close(grey.seen(x)[:, 0], weighted)
    assert grey.reconstruct(x).shape == x.shape
    colored = built((3, 16, 16), difference="l2").eval()
    torch.testing.assert_close(colored.score_map(x), (x - colored.decoder(colored.encoder(x))).square().sum(1))


def test_the_loss_moves_every_weight_and_grows_with_the_difference() -> None:
    network = built((1, SIDE, SIDE), patch_size=16, patches=3).train()
    loss = network.losses(Batch(torch.rand(4, 1, SIDE, SIDE), torch.arange(4)))["reconstruction"]
    loss.backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in network.parameters())


def textures(n: int, defect: bool = False) -> tuple[Any, Any]:
    """Stripes of one direction and any phase; a defect is a patch of stripes across, of the same brightness."""
    phase = RNG.uniform(0, 2 * np.pi, (n, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = 128 + 70 * np.sin(2 * np.pi * columns / 8 + phase)
    masks = np.zeros((n, SIDE, SIDE), dtype=bool)
    for image, mask in zip(images, masks, strict=True) if defect else ():
        top, left = RNG.integers(2, SIDE - 12, 2)
        mask[top : top + 10, left : left + 10] = True
        image[mask] = (128 + 70 * np.sin(2 * np.pi * rows / 8))[mask]
    return (images + RNG.normal(0, 4, images.shape)).clip(0, 255).astype(np.uint8), masks


GOOD, _ = textures(200)
DEFECTIVE, MASKS = textures(40, defect=True)


@pytest.mark.parametrize("difference", ["ssim", "l2"])
def test_training_on_patches_finds_what_an_untrained_network_does_not(difference: str) -> None:
    found = {}
    for epochs in (0, 40):
        detector = SSIMAutoencoder(
            latent_dim=2, hidden_sizes=(16, 16), difference=difference, patch_size=16, patches=2, patch_stride=8,
            epochs=epochs, batch_size=32, learning_rate=4e-3, early_stopping=False, calibration="none",
        ).fit(GOOD)  # fmt: skip
        found[epochs] = roc_auc_score(MASKS.ravel(), detector.residual_maps(DEFECTIVE).ravel())
    assert found[40] > 0.85
    assert found[40] > found[0] + 0.25


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InvalidParameter, match=r"patch_size=64 does not fit images of 32×32"):
        SSIMAutoencoder(patch_size=64).fit(GOOD)
    with pytest.raises(InvalidParameter, match=r"patch_size=8 does not fit clips or the columns"):
        SSIMAutoencoder(patch_size=8).fit(GOOD[:, 0])
    with pytest.raises(InvalidParameter, match=r"pixel_scaling='unit'"):
        SSIMAutoencoder(pixel_scaling="symmetric").fit(GOOD)
