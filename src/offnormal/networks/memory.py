"""A memory of prototype codes: a code is replaced by a sparse convex combination of learned slots.

Gong et al., "Memorizing Normality to Detect Anomaly", ICCV 2019. Letters: b rows, p positions, m slots, d width of a
slot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SHORTEST = 1e-3
"""Vectors shorter than this count as this long under the cosine, so that the gradient at zero stays bounded."""
TINY = 1e-12
"""Added inside the logarithm of the entropy, as in the published code."""


class Memory(nn.Module):
    """Slots, and the reading of them.

    Parameters
    ----------
    n_slots : int
        m.
    width : int
        d.
    addressing : {"cosine", "dot"}
        How alike a code and a slot are.
    cut : float
        λ: a weight must exceed this to be kept; 0 keeps all.
    positions : int
        p: a code of p · d numbers, laid out as a feature map (d, *grid) flattened, is read position by position.
    """

    def __init__(self, n_slots: int, width: int, *, addressing: str, cut: float, positions: int = 1) -> None:
        super().__init__()
        self.addressing, self.cut, self.positions = addressing, cut, positions
        self.slots = nn.Parameter(torch.empty(n_slots, width))
        nn.init.uniform_(self.slots, -(width**-0.5), width**-0.5)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return the read-out and its weights: (b, p · d) -> (b, p · d), (b, p, m)."""
        b, p = len(code), self.positions
        queries = code.reshape(b, -1, p).transpose(1, 2)
        weights = hard_shrinkage(address(queries, self.slots, self.addressing), self.cut)
        return (weights @ self.slots).transpose(1, 2).reshape(b, -1), weights


def address(queries: Tensor, slots: Tensor, addressing: str) -> Tensor:
    """Return w_i = softmax_i of the likeness of a query to slot i: (…, d), (m, d) -> (…, m)."""
    if addressing == "cosine":
        queries = functional.normalize(queries, dim=-1, eps=SHORTEST)
        slots = functional.normalize(slots, dim=-1, eps=SHORTEST)
    return (queries @ slots.T).softmax(-1)


def hard_shrinkage(weights: Tensor, cut: float) -> Tensor:
    """Set weights up to the cut to zero and let the others sum to 1: (…, m) -> (…, m).

    The paper's max(w − λ, 0) · w / (|w − λ| + ε) is w above λ and 0 below. Where every weight of a query would go, it
    keeps them all as they were: zeros would stop the gradient, and a memory that starts so would never learn.
    """
    if cut <= 0:
        return weights
    kept = torch.where(weights > cut, weights, 0.0)
    total = kept.sum(-1, keepdim=True)
    return torch.where(total > 0, kept / total.clamp_min(cut), weights)


def entropy(weights: Tensor) -> Tensor:
    """Return −Σ_i w_i log w_i: (…, m) -> (…)."""
    return -(weights * (weights + TINY).log()).sum(-1)
