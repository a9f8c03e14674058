"""Structural similarity against a loop over windows; its range, its gradient, and what it does not mind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from skimage.metrics import structural_similarity as skimage_similarity
from torch import Tensor

from offnormal.errors import InvalidParameter
from offnormal.networks.similarity import (
    difference_named,
    dissimilarity,
    similarity_terms,
    structural_similarity,
)
from offnormal.random import generator


def images(*shape: int, name: str = "p") -> Tensor:
    return torch.rand(*shape, generator=generator(0, name), dtype=torch.float64)


def by_loop(p: Tensor, q: Tensor, window: int, kernel: str, data_range: float) -> NDArray[np.float64]:
    """Return the textbook's quotient, window by window, from a padded copy."""
    reach = window // 2
    line = norm.pdf(np.arange(-reach, reach + 1), scale=1.5 * window / 11) if kernel == "gaussian" else np.ones(window)
    weights = np.outer(line, line) / np.outer(line, line).sum()
    pad = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    left, right = (np.pad(v.numpy(), pad, mode="reflect") for v in (p, q))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    result = np.empty(p.shape)
    for place in np.ndindex(*p.shape):
        b, c, i, j = place
        a, z = left[b, c, i : i + window, j : j + window], right[b, c, i : i + window, j : j + window]
        mean_a, mean_z = (weights * a).sum(), (weights * z).sum()
        var_a, var_z = (weights * (a - mean_a) ** 2).sum(), (weights * (z - mean_z) ** 2).sum()
        covariance = (weights * (a - mean_a) * (z - mean_z)).sum()
        above = (2 * mean_a * mean_z + c1) * (2 * covariance + c2)
        result[place] = above / ((mean_a**2 + mean_z**2 + c1) * (var_a + var_z + c2))
    return result.mean(1)


@pytest.mark.parametrize(
    ("window", "kernel", "data_range"), [(11, "gaussian", 1.0), (5, "gaussian", 255.0), (7, "uniform", 1.0)]
)
def test_it_is_the_quotient_of_every_window(window: int, kernel: str, data_range: float) -> None:
    p = data_range * images(2, 3, 13, 17)
    q = 0.6 * p + 0.4 * data_range * images(2, 3, 13, 17, name="q")
    options = {"window": window, "kernel": kernel, "data_range": data_range}
    expected = by_loop(p, q, window, kernel, data_range)
    assert expected.std() > 0.02
    np.testing.assert_allclose(structural_similarity(p, q, **options).numpy(), expected, rtol=1e-9, atol=1e-9)
    single = structural_similarity(p.float(), q.float(), **options)
    np.testing.assert_allclose(single.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kernel", "window"), [("gaussian", 11), ("uniform", 7), ("uniform", 11)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_that_of_scikit_image(kernel: str, window: int, channels: int) -> None:
    """Away from the border, where scikit-image continues an image in another way."""
    draw = np.random.default_rng(0)
    p = draw.random((channels, 40, 33)).astype(np.float64)
    q = np.clip(p + draw.normal(0, 0.2, p.shape), 0, 1)
    weights = {"gaussian_weights": True, "sigma": 1.5} if kernel == "gaussian" else {"win_size": window}
    _, expected = skimage_similarity(
        p, q, data_range=1.0, channel_axis=0, use_sample_covariance=False, full=True, **weights
    )
    found = structural_similarity(torch.from_numpy(p)[None], torch.from_numpy(q)[None], window=window, kernel=kernel)
    inside = (slice(window // 2, -(window // 2)),) * 2
    np.testing.assert_allclose(found[0].numpy()[inside], expected.mean(0)[inside], atol=1e-12)


def test_an_image_is_like_itself_either_way_round_and_within_bounds() -> None:
    p, q = images(2, 3, 12, 15), images(2, 3, 12, 15, name="q")
    flat = torch.full_like(p, 0.3)
    negative = 1 - p
    for image in (p, flat, torch.zeros_like(p)):
        assert torch.equal(structural_similarity(image, image), torch.ones(2, 12, 15, dtype=torch.float64))
    for other in (q, flat, negative):
        there, back = structural_similarity(p, other), structural_similarity(other, p)
        torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)
        assert float(there.max()) < 0.9
        assert float(there.min()) > -1
    assert float(structural_similarity(p, negative).max()) < 0, "the negative is structured the other way"
    parts = dissimilarity(p, negative)
    assert float(parts.min()) >= 0
    assert float(parts.max()) <= 2 / 3
    torch.testing.assert_close(parts.sum(1), 1 - structural_similarity(p, negative), rtol=1e-12, atol=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    p, q = (images(1, 2, 5, 6, name=name).requires_grad_() for name in "pq")
    assert torch.autograd.gradcheck(lambda a, b: dissimilarity(a, b, window=5), (p, q))
    alike = images(1, 1, 6, 6).requires_grad_()
    loss = dissimilarity(alike, alike.detach().clone(), window=5).sum()
    (slope,) = torch.autograd.grad(loss, alike)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


def test_a_change_of_light_is_less_than_a_change_of_structure() -> None:
    """Of two changes with the same squared and absolute error everywhere, one shifts the light, one adds a grid."""
    grid = (torch.arange(24)[:, None] + torch.arange(24)) % 2 * 2.0 - 1
    texture = 0.5 + 0.15 * torch.sin(torch.arange(24) / 2.0).expand(1, 1, 24, 24).double()
    lighter, woven = texture + 0.1, texture + 0.1 * grid.double()
    for error in (difference_named("l2", (1, 24, 24)), difference_named("l1", (1, 24, 24))):
        torch.testing.assert_close(error(texture, lighter), error(texture, woven))
    luminance, structure = similarity_terms(texture, lighter)
    torch.testing.assert_close(structure, torch.ones_like(structure), rtol=0, atol=1e-12)
    assert float(luminance.min()) > 0.95
    assert float(similarity_terms(texture, woven)[1].max()) < 0.8
    assert float(dissimilarity(texture, woven).min()) > 4 * float(dissimilarity(texture, lighter).max())


def test_a_clip_is_compared_frame_by_frame() -> None:
    p, q = images(2, 3, 4, 8, 9), images(2, 3, 4, 8, 9, name="q")
    whole = structural_similarity(p, q, window=7)
    assert whole.shape == (2, 4, 8, 9)
    for t in range(4):
        frame = structural_similarity(p[:, :, t], q[:, :, t], window=7)
        torch.testing.assert_close(whole[:, t], frame, rtol=1e-12, atol=1e-12)


def test_short_arithmetic_around_it_does_not_reach_it() -> None:
    p, q = images(2, 1, 16, 16).float(), images(2, 1, 16, 16, name="q").float()
    near = p + 0.01 * q
    with torch.autocast("cpu", torch.bfloat16):
        short = structural_similarity(p, near)
    assert torch.equal(short, structural_similarity(p, near))


@pytest.mark.parametrize(
    ("shape", "window", "words"),
    [((30,), 11, "columns of a table"), ((1, 9, 30), 11, "got 11 for images of 9×30"), ((1, 9, 9), 4, "odd side")],
)
def test_what_cannot_be_compared_says_why(shape: tuple[int, ...], window: int, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        difference_named("ssim", shape, window=window)
    difference_named("l1", shape, window=window)
    if len(shape) > 1:
        with pytest.raises(InvalidParameter, match=words):
            structural_similarity(torch.zeros(2, *shape), torch.zeros(2, *shape), window=window)
