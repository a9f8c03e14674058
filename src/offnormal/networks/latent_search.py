"""The latent search: for each row, the code from which a fixed generator makes the row that is most like it.

Schlegl et al., "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery", IPMI
2017. Adam moves the codes alone, of all rows of a block at once. Its step is element by element and what is minimized
is a sum over rows, so that every row is searched as if it were alone.

A search magnifies rounding: Adam's first steps have the size of its rate whatever the size of the gradient, and an
absolute error turns its slope around where it is zero. On a table a start moved by 1e-7 of itself moved 3 % of the
scores by more than 1e-4 of themselves after 500 steps in float32, and none by more than 1e-14 in float64. So fully
connected networks are searched in float64, at hardly any cost. Convolutions in float64 are several times slower on a
processor; they stay in float32. Letters: b rows, d code, r starts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from offnormal.errors import InvalidParameter

Misfit = Callable[[Tensor], Tensor]
"""Codes (b, d) -> how unlike each row is to the one its code makes, (b,)."""
DROPS = (0.1, 0.05)
"""The rate after the first drop and after the second, in units of the first rate; EGBAD's code."""
PARTS = (16, 4, 1)
"""A block is searched in three parts, up to its sixteenth, its fourth and its last row: a single row, whose block is
filled up with copies of it, costs the first part alone."""


def search_rates(steps: int, rate: float, drops: Sequence[int] | None) -> tuple[float, ...]:
    """Return Adam's rate in each step of a search.

    Parameters
    ----------
    steps : int
    rate : float
        Of the first step.
    drops : sequence of int, or None
        Steps after which the rate is a tenth, and after which it is a twentieth; none: it stays. None: it falls along
        half a cosine, to nothing after the last step.

    Raises
    ------
    InvalidParameter
        If there are more than two drops, or they are out of order.
    """
    if drops is None:
        return tuple(0.5 * rate * (1 + math.cos(math.pi * step / steps)) for step in range(steps))
    if len(drops) > len(DROPS) or list(drops) != sorted(drops):
        raise InvalidParameter(
            "search_drops takes at most two steps, in order: after the first the rate of the search is a tenth, after "
            f"the second a twentieth; got {tuple(drops)!r}."
        )
    factors = (1.0, *DROPS)
    return tuple(rate * factors[sum(step >= drop for drop in drops)] for step in range(steps))


def frozen(network: nn.Sequential, dtype: torch.dtype) -> nn.Sequential:
    """Return a copy of a network in `dtype` and evaluation mode whose weights take no gradient."""
    with torch.inference_mode(False):
        return copy.deepcopy(network).to(dtype).eval().requires_grad_(False)


def search_codes(misfit: Misfit, start: Tensor, rates: Sequence[float]) -> Tensor:
    """Return the codes after one step of Adam per rate, each row's on its own misfit; also in inference mode.

    Parameters
    ----------
    misfit : callable
        May be called in any mode; what it closes over must have been made outside of inference mode.
    start : Tensor, shape (b, d)
    rates : sequence of float

    Returns
    -------
    Tensor, shape (b, d)
    """
    with torch.inference_mode(False), torch.enable_grad():
        codes = start.detach().clone().requires_grad_()
        adam = torch.optim.Adam([codes], fused=True)
        for rate in rates:
            adam.param_groups[0]["lr"] = rate
            (codes.grad,) = torch.autograd.grad(misfit(codes).sum(), codes)
            adam.step()
    return codes.detach()


def best_of_starts(misfit: Misfit, starts: Tensor, rows: int, rates: Sequence[float]) -> Tensor:
    """Return, for each row, the code of least misfit among those found from each start, (r, d) -> (b, d).

    All rows begin at the same codes, so that a row's code is its own whatever rows it comes with.
    """
    best, least = torch.empty(0), torch.empty(0)
    for number, start in enumerate(starts):
        codes = search_codes(misfit, start.expand(rows, -1), rates)
        with torch.inference_mode(False), torch.no_grad():
            now = misfit(codes)
            if number == 0:
                best, least = codes, now
            better = now < least
            best, least = torch.where(better[:, None], codes, best), torch.where(better, now, least)
    return best


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a costly function of rows, (k, *shape) -> (k, …), to the parts of a block, (b, *shape) -> (b, …).

    Where all rows from a part on are copies of the row before it, as in the block of a few rows, that row's answer is
    theirs. The parts depend on b alone: what comes after a row changes no bit of its answer.
    """
    ends = sorted({math.ceil(len(x) / share) for share in PARTS})
    answers = [function(x[: ends[0]])]
    for begin, end in pairwise(ends):
        if bool((x[begin:] == x[begin - 1]).all()):
            answers.append(answers[-1][-1:].expand(len(x) - begin, *answers[-1].shape[1:]))
            break
        answers.append(function(x[begin:end]))
    return torch.cat(answers)
