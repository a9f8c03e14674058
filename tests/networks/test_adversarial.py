"""The terms of the game against torch's cross-entropy, and that real and fake rows never meet in a batch."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.networks.adversarial import code_discriminator, taken_for_real, told_apart
from offnormal.random import generator, scoped

REAL = torch.randn(64, 3, generator=generator(0, "real"))
FAKE = 2 + torch.randn(64, 3, generator=generator(0, "fake"))


def test_the_terms_are_cross_entropies_and_only_the_maker_feels_the_last() -> None:
    judge = code_discriminator(3, (8, 4))
    fake = FAKE.clone().requires_grad_()
    terms = told_apart(judge, REAL, fake)
    assert list(terms) == ["real", "fake"]
    torch.testing.assert_close(terms["real"], binary_cross_entropy_with_logits(judge(REAL), torch.ones(64, 1)))
    torch.testing.assert_close(terms["fake"], binary_cross_entropy_with_logits(judge(FAKE), torch.zeros(64, 1)))
    sum(terms.values()).backward()
    assert fake.grad is None
    term = taken_for_real(judge, fake)
    torch.testing.assert_close(term, binary_cross_entropy_with_logits(judge(FAKE), torch.ones(64, 1)))
    term.backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0


def test_a_norm_over_the_batch_sees_real_and_fake_rows_apart() -> None:
    with scoped(0, "judge"):
        judge = code_discriminator(3, (8,), batch_norm=True).train()
    first, second = told_apart(judge, REAL, FAKE), told_apart(judge, REAL, FAKE + 100)
    assert torch.equal(first["real"], second["real"])
    together = binary_cross_entropy_with_logits(judge(torch.cat([REAL, FAKE]))[:64], torch.ones(64, 1))
    assert abs((first["real"] - together).item()) > 1e-3, "in one pass fake rows would move the verdict on real ones"
