"""Patches: where they come from, how they are turned, and how overlapping ones are put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.networks.patches import Variation, averaged_over_patches, middle_patches, random_patches

IMAGES = torch.arange(2 * 3 * 20 * 24, dtype=torch.float64).reshape(2, 3, 20, 24)


def test_patches_are_pieces_of_their_images() -> None:
    torch.manual_seed(0)
    patches = random_patches(IMAGES, (7, 5), 4, Variation())
    assert patches.shape == (8, 3, 7, 5)
    places = set()
    for i, patch in enumerate(patches):
        windows = np.lib.stride_tricks.sliding_window_view(IMAGES[i // 4].numpy(), (7, 5), axis=(1, 2))
        found = np.argwhere((windows == patch.numpy()[:, None, None]).all((0, 3, 4)))
        assert len(found) == 1
        places.add(tuple(found[0]))
    assert len(places) > 4


def test_a_quarter_turn_is_numpys() -> None:
    """Angles are drawn within the limit, so the extreme draws are put in by hand."""
    square = IMAGES[:, :, :, :20].float()
    for draw, turns in ((1.0, 1), (0.0, -1)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch, "rand", lambda *size, draw=draw: torch.full(size, draw))
            turned = random_patches(square, (20, 20), 1, Variation(rotation=90))
        torch.testing.assert_close(turned, torch.rot90(square, turns, (2, 3)), atol=2e-2, rtol=0)


def test_whole_images_are_moved_by_at_most_the_shift() -> None:
    image = torch.zeros(1, 1, 21, 41)
    image[..., 10, 20] = 1
    torch.manual_seed(1)
    moved = random_patches(image.expand(200, -1, -1, -1), (21, 41), 1, Variation(shift=0.1))
    total = moved.sum((1, 2, 3))
    rows = (moved.sum((1, 3)) * torch.arange(21)).sum(1) / total - 10
    columns = (moved.sum((1, 2)) * torch.arange(41)).sum(1) / total - 20
    assert 1.5 < rows.abs().max() <= 2.1 + 1e-4
    assert 3.0 < columns.abs().max() <= 4.1 + 1e-4


def test_half_are_mirrored() -> None:
    torch.manual_seed(2)
    patches = random_patches(IMAGES[:1].expand(100, -1, -1, -1), (20, 24), 1, Variation(mirror=True))
    mirrored = (patches == IMAGES[0].flip(2)).all(dim=(1, 2, 3))
    assert (mirrored | (patches == IMAGES[0]).all(dim=(1, 2, 3))).all()
    assert 30 < int(mirrored.sum()) < 70


def test_the_middle() -> None:
    assert torch.equal(middle_patches(IMAGES, (4, 6)), IMAGES[:, :, 8:12, 9:15])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(3, 12), st.integers(3, 12), st.integers(12, 20), st.integers(12, 20))
def test_overlapping_patches_average_what_is_said_of_a_pixel(stride: int, p: int, q: int, h: int, w: int) -> None:
    x = torch.rand(2, 1, h, w, dtype=torch.float64)
    same = averaged_over_patches(lambda patches: patches, x, (p, q), stride)
    torch.testing.assert_close(same, x)

    def brightness(patches: torch.Tensor) -> torch.Tensor:
        return patches.mean((1, 2, 3), keepdim=True).expand_as(patches).sum(1)

    starts = [[*range(0, side - part, min(stride, part)), side - part] for side, part in ((h, p), (w, q))]
    expected = np.zeros((2, h, w))
    count = np.zeros((h, w))
    for top in starts[0]:
        for left in starts[1]:
            here = (slice(top, top + p), slice(left, left + q))
            expected[:, here[0], here[1]] += x[:, 0, here[0], here[1]].mean((1, 2)).numpy()[:, None, None]
            count[here] += 1
    np.testing.assert_allclose(averaged_over_patches(brightness, x, (p, q), stride).numpy(), expected / count)
