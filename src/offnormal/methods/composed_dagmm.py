"""DAGMM with another autoencoder of the family as its compression network.

Zong et al. (ICLR 2018) compress with a plain autoencoder, and say of it only that it gives a code and a reconstruction.
Here that network is a variational one, an adversarial one, one with a memory, or GPND's: its own losses stay as they
are, and its step on encoder and decoder also minimizes the mixture's energy. The score is DAGMM's.

Letters: b rows, d axes of z.

Differences from the paper
--------------------------
1. The paper has no such composition; with "autoencoder" this is DAGMM, step by step, up to the order of random numbers.
2. The mixture sees the code that the network would be judged by: the mean of a VAE, the code before the memory.
3. λ₁ was chosen beside a plain squared error; beside a log-likelihood or a mean over the features it weighs otherwise.
4. All of `dagmm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update, falling
from offnormal.methods.aae import AAE
from offnormal.methods.autoencoder import Autoencoder
from offnormal.methods.dagmm import DAGMM, DAGMMNetwork
from offnormal.methods.gpnd import GPND
from offnormal.methods.memae import MemAE
from offnormal.methods.vae import VAE
from offnormal.networks.autoencoding import Autoencoding
from offnormal.parameters import param

COMPRESSIONS: Mapping[str, type[BackboneDetector]] = {
    "autoencoder": Autoencoder, "vae": VAE, "aae": AAE, "gpnd": GPND, "memae": MemAE,
}  # fmt: skip


class ComposedNetwork(DAGMMNetwork):
    """A method that encodes and rebuilds, and DAGMM's estimation network and mixture on what it makes.

    Parameters
    ----------
    compression : Method and Autoencoding
        Of rows (b, n).
    estimation : nn.Module
        (b, d) -> (b, k) membership logits.
    **settings
        As `DAGMMNetwork`.
    """

    def __init__(self, compression: Method, estimation: nn.Module, **settings: Any) -> None:
        if not isinstance(compression, Autoencoding):
            raise InvalidParameter(f"{type(compression).__name__} has no code to compress rows to.")
        super().__init__(compression.encoder, compression.decoder, estimation, **settings)
        self.compression = compression

    def _coded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.compression.encode(x), self.compression.reconstruct(x)

    def phases(self) -> Sequence[Phase]:
        """Return the compression's phases; its step on encoder and decoder takes the mixture's terms along."""
        *before, main = self.compression.phases()
        schedule = falling(self.epochs) if self.schedule == "cosine" else None
        updates = tuple(
            replace(self._joined(update) if self._rebuilds(update) else update, scheduler=update.scheduler or schedule)
            for update in main.updates
        )
        return (*before, Phase("joint", updates, self.epochs, main.begin, main.after_batch))

    def _rebuilds(self, update: Update) -> bool:
        trained = {id(parameter) for parameter in update.params}
        return all(id(p) in trained for p in (*self.encoder.parameters(), *self.decoder.parameters()))

    def _joined(self, update: Update) -> Update:
        def losses(batch: Batch) -> Mapping[str, Tensor]:
            return {**update.losses(batch), **self._mixture_terms(self.encode(batch.x))}

        return replace(update, losses=losses, params=(*update.params, *self.estimation.parameters()))


@dataclass(kw_only=True, eq=False, repr=False)
class ComposedDAGMM(DAGMM):
    """DAGMM whose compression network is another method of the family.

    The score is DAGMM's: the energy of code and reconstruction features, unbounded, greater = more anomalous.
    """

    key: ClassVar[str] = "composed_dagmm"

    compression: str = param(
        "vae", "The method whose network compresses the rows.", choices=tuple(COMPRESSIONS),
        source="an open question of the DAGMM paper: a better reduction than a plain autoencoder",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,).

        Raises
        ------
        InvalidParameter
            If a switch of `dagmm` is set that a composition does not have.
        """
        odd = {"training": "joint", "pretraining_epochs": 0, "reconstruction_weight": 1.0}
        if changed := [name for name, usual in odd.items() if getattr(self, name) != usual]:
            raise InvalidParameter(f"{', '.join(changed)}: for DAGMM's own autoencoder only; use the method dagmm.")
        compression = COMPRESSIONS[self.compression](
            latent_dim=self.latent_dim, hidden_sizes=self.hidden_sizes, learning_rate=self.learning_rate
        )
        compression.planned_epochs_ = self.planned_epochs_
        inner = compression.build(shape)
        # Not `latent_dim`: GPND's code has at most half as many axes as the row has values.
        code_dim = inner.code_dim if isinstance(inner, Autoencoding) else self.latent_dim
        return ComposedNetwork(inner, self._estimation(code_dim), **self._network_settings(shape[0], code_dim))
