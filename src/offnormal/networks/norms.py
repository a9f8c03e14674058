"""Batch norm at the end of a training."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def settle_norms(module: nn.Module, one_pass: Callable[[], None]) -> None:
    """Replace the running means and variances of batch norm by those of the training rows under the final weights.

    Running averages lag by some tens of steps. After a short training they belong to weights of long ago, and rows that
    were rebuilt well in training are then scored as if they were not.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, and left in it; without batch norm nothing happens.
    one_pass : callable
        Sends all training rows through the module, in batches.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()  # the norms alone: no dropout, no noise
    one_pass()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
        norm.eval()
