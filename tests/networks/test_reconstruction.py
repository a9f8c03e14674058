"""Reconstruction features against torch's own functions."""

from __future__ import annotations

import torch

from offnormal.networks.reconstruction import reconstruction_features


def pair(b: int = 9, n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randn(b, n, dtype=torch.float64, generator=draw),
        torch.randn(b, n, dtype=torch.float64, generator=draw),
    )


def test_features_are_the_textbook_ones() -> None:
    x, rebuilt = pair()
    squared, relative, cosine = reconstruction_features(x, rebuilt)
    torch.testing.assert_close(squared, (x - rebuilt).square().sum(1))
    torch.testing.assert_close(relative, (x - rebuilt).norm(dim=1) / x.norm(dim=1), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(cosine, torch.cosine_similarity(x, rebuilt), rtol=1e-8, atol=1e-8)


def test_the_written_gradient_equals_finite_differences() -> None:
    x, rebuilt = pair()
    x.requires_grad_()
    rebuilt.requires_grad_()
    assert torch.autograd.gradcheck(reconstruction_features, (x, rebuilt))


def test_zero_rows_and_perfect_reconstructions_have_finite_features_and_gradients() -> None:
    x, _ = pair(b=3)
    x[0] = 0
    rebuilt = x.clone()
    rebuilt[2] = 0
    rebuilt.requires_grad_()
    features = torch.stack(reconstruction_features(x.float(), rebuilt.float()))
    features.sum().backward()
    assert torch.isfinite(features).all()
    assert torch.isfinite(rebuilt.grad).all()
