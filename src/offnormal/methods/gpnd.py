"""Generative probabilistic novelty detection with adversarial autoencoders (GPND).

Pidhorskyi, Almohsen, Adjeroh and Doretto, NeurIPS 2018, arXiv 1807.02588; published code: podgorskiy/GPND (its
configuration of MNIST is the preset `mnist`).

An adversarial autoencoder, with one discriminator of codes and one of rows, learns a manifold: the rows that the
decoder reaches. A row near it falls apart into a place along the manifold and a distance from it, each with a density:
that of the codes, carried to the manifold by the volume that the decoder gives a unit of code, and that of the
distances, the same in all directions. Their product is the likelihood of the row, and the score is −log of it.

Letters: b rows, n features (all values of an image; the paper's m), d code (the paper's n); g encoder, f decoder, J the
Jacobian of f (n × d), s its singular values, w‖ and w⊥ the parts of a row along the manifold and away from it.

Differences from the paper
--------------------------
1. The paper's volume term is |det S⁻¹| of the decoder's Jacobian; the published code takes Σ log s of the *encoder's*
   Jacobian with the same minus sign. Where g inverts f the two have opposite signs. `jacobian="decoder"`, the default,
   is the paper; "encoder" is the code.
2. The code multiplies the exponent n − d of the normal part by 0.2, a "power correction" that is not in the formula:
   `power`; 1, the default, is the formula, the preset has the code's 0.2.
3. The code's constant of the normal part has 2π where the formula has π; ours is the formula. No ranking changes.
4. Singular values count as at least 1e-4: a decoder that ignores an axis of the code would make every row certain.
5. The histogram of distances has half a count more in every bin. Below the first bin the density of w⊥ is flat, above
   the last it falls exponentially (networks.priors.RadialDensity); the code has a linear ramp and a constant 1e-308,
   which no longer orders rows. Nor is log p_Z cut at −1000, as the code does where it is not finite.
6. Generalized Gaussians have shapes from 0.3 to 10 and scales of at least 0.001.
7. Linear layers take the place of convolutions whose kernel is as large as their image: the biases of the decoder's
   first are one per value, not one per channel. A sigmoid takes the place of ½ tanh + ½.
8. Tables: rows are rebuilt by squared error, and the code has at most half as many axes as the table.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from offnormal.backbone_detector import UnmirroredDetector
from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import code_discriminator, taken_for_real, told_apart
from offnormal.networks.autoencoding import Autoencoding, squared_error
from offnormal.networks.backbones import Map
from offnormal.networks.priors import GeneralizedGaussian, RadialDensity
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

SCORES = ("density", "tangent", "normal")
ERRORS = ("auto", "squared", "cross_entropy")
BINS = 30
"""Of the histogram of distances; the published code's."""
LEAST_SINGULAR = 1e-4
JACOBIAN_VALUES = 2**22
"""Numbers of Jacobians held at a time: 32 MiB in float64."""
BETAS = (0.5, 0.999)


class GPNDNetwork(Autoencoding, Method):
    """Autoencoder, two discriminators, and the densities of codes and distances.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        g: (b, *shape) -> (b, d), f: (b, d) -> (b, *shape); with `cross_entropy` the decoder gives logits.
    discriminator, latent_discriminator : nn.Sequential
        (b, *shape) -> (b, 1) and (b, d) -> (b, 1), logits.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    cross_entropy : bool
        Values are within [0, 1] and rebuilt by cross-entropy.
    reconstruction_weight, adversarial_weight : float
        Of the two terms of the last update.
    jacobian : {"decoder", "encoder"}
    power : float
        Factor on the dimension n − d of the normal space.
    score_by : {"density", "tangent", "normal"}
    learning_rate : float
    decay_epochs : int or None
        Epochs after which the step falls to a quarter, again and again.
    epochs : int
    """

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        discriminator: nn.Sequential,
        latent_discriminator: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        cross_entropy: bool,
        reconstruction_weight: float,
        adversarial_weight: float,
        jacobian: str,
        power: float,
        score_by: str,
        learning_rate: float,
        decay_epochs: int | None,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.discriminator, self.latent_discriminator = discriminator, latent_discriminator
        self.code_dim, self.cross_entropy = code_dim, cross_entropy
        self.reconstruction_weight, self.adversarial_weight = reconstruction_weight, adversarial_weight
        self.jacobian, self.score_by = jacobian, score_by
        self.learning_rate, self.decay_epochs, self.epochs = learning_rate, decay_epochs, epochs
        self.codes = GeneralizedGaussian(code_dim)
        self.distances = RadialDensity(power * max(math.prod(shape) - code_dim, 1), BINS)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    def decode(self, z: Tensor) -> Tensor:
        """Return f(z), (b, *shape)."""
        decoded: Tensor = self.decoder(z)
        return decoded.sigmoid() if self.cross_entropy else decoded

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return f(g(x)), (b, *shape)."""
        return self.decode(self.encode(x))

    # --- the four updates -----------------------------------------------------------------------------------------

    def _made(self, batch: Batch) -> Tensor:
        """Return rows made of codes from N(0, I), as many as the batch has, (b, *shape)."""
        return self.decode(torch.randn(len(batch.x), self.code_dim, dtype=batch.x.dtype, device=batch.x.device))

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D_x(x) and of −log(1 − D_x(f(z))), z ~ N(0, I)."""
        with torch.no_grad():
            made = self._made(batch)
        return told_apart(self.discriminator, batch.x, made)

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −log D_x(f(z)), z ~ N(0, I)."""
        return {"generator": taken_for_real(self.discriminator, self._made(batch))}

    def latent_discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D_z(z), z ~ N(0, I), and of −log(1 − D_z(g(x)))."""
        with torch.no_grad():
            codes = self.encode(batch.x)
        return told_apart(self.latent_discriminator, torch.randn_like(codes), codes)

    def autoencoder_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the weighted means of −log D_z(g(x)) and of the error of a value of f(g(x))."""
        code = self.encode(batch.x)
        decoded: Tensor = self.decoder(code)
        if self.cross_entropy:
            error = nn.functional.binary_cross_entropy_with_logits(decoded, batch.x.clamp(0, 1))
        else:
            error = (batch.x - decoded).square().mean()
        return {
            "prior": self.adversarial_weight * taken_for_real(self.latent_discriminator, code),
            "reconstruction": self.reconstruction_weight * error,
        }

    def phases(self) -> Sequence[Phase]:
        """On every batch train D_x, then f against it, then D_z, then g against it and f with it."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=BETAS, fused=True)
        quarter: Callable[[Optimizer], LRScheduler] | None = None
        if self.decay_epochs is not None:
            quarter = partial(StepLR, step_size=self.decay_epochs, gamma=0.25)

        def update(name: str, losses: Callable[[Batch], Mapping[str, Tensor]], *nets: nn.Module) -> Update:
            own = tuple(parameter for net in nets for parameter in net.parameters())
            return Update(name, losses, own, adam, scheduler=quarter)

        updates = (
            update("discriminator", self.discriminator_losses, self.discriminator),
            update("generator", self.generator_losses, self.decoder),
            update("latent_discriminator", self.latent_discriminator_losses, self.latent_discriminator),
            update("autoencoder", self.autoencoder_losses, self.encoder, self.decoder),
        )
        return (Phase("adversarial", updates, self.epochs),)

    def summarize(self, batches: Batches) -> None:
        """Fit the densities of the codes and of the distances; note what residuals look like, for reasons."""
        codes = [self.encode(batch.x) for batch in batches]
        distances = [
            squared_error(batch.x.double(), self.decode(code).double()).sqrt()
            for batch, code in zip(batches, codes, strict=True)
        ]
        self.codes.fit(torch.cat(codes))
        self.distances.fit(torch.cat(distances))
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def log_volume(self, x: Tensor) -> Tensor:
        """Return Σ_j log s_j of the Jacobian that `jacobian` names, at each row, float64, shape (b,)."""
        at_once = max(JACOBIAN_VALUES // (math.prod(x.shape[1:]) * self.code_dim), 1)
        parts = [x[start : start + at_once] for start in range(0, len(x), at_once)]
        if self.jacobian == "encoder":
            return torch.cat([log_volume(encoder_jacobian(self.encode, part, self.code_dim)) for part in parts])
        return torch.cat([log_volume(decoder_jacobian(self.decode, self.encode(part))) for part in parts])

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return −log p of the part along the manifold and of the part away from it, each float64, shape (b,)."""
        code = self.encode(x)
        parts: dict[str, Tensor] = {}
        if self.score_by != "normal":
            parts["tangent"] = self.codes.misfit(code) + self.log_volume(x)
        if self.score_by != "tangent":
            parts["normal"] = self.distances.misfit(squared_error(x.double(), self.decode(code).double()).sqrt())
        return parts

    def score(self, x: Tensor) -> Tensor:
        """Return −log p_{W‖}(w‖) − log p_{W⊥}(w⊥), or one of the two, float64, shape (b,)."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part of the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(self.score_parts, self.residuals, x, self.reconstruct(x), groups, n_groups)


def decoder_jacobian(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return ∂f/∂z at each code, (b, d) -> (b, n, d): one pass forward per axis of the code, for all rows at once."""
    columns = []
    for axis in torch.eye(z.shape[1], dtype=z.dtype, device=z.device):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, at the first use in a process
            columns.append(torch.func.jvp(decode, (z,), (axis.expand_as(z).contiguous(),))[1].flatten(1))
    return torch.stack(columns, dim=2)


def encoder_jacobian(encode: Callable[[Tensor], Tensor], x: Tensor, code_dim: int) -> Tensor:
    """Return the transposed ∂g/∂x at each row, (b, *shape) -> (b, n, d): one pass backward per axis of the code."""
    with torch.inference_mode(False), torch.enable_grad():
        rows = x.detach().clone().requires_grad_()
        code = encode(rows)
        columns = [
            torch.autograd.grad(code[:, j].sum(), rows, retain_graph=j < code_dim - 1)[0].flatten(1)
            for j in range(code_dim)
        ]
    return torch.stack(columns, dim=2)


def log_volume(jacobian: Tensor) -> Tensor:
    """Return Σ_j log s_j, (b, n, d) -> (b,), float64; the s_j² are the eigenvalues of JᵀJ."""
    matrix = jacobian.double()
    squares = torch.linalg.eigvalsh((matrix.mT @ matrix).nan_to_num())  # a row beyond float32 must not raise here
    volume: Tensor = 0.5 * squares.clamp(min=LEAST_SINGULAR**2).log().sum(1)
    return volume


def _as_published(chain: nn.Sequential, *, first_norm: bool) -> nn.Sequential:
    """Return a chain of convolutions with the published start, N(0, 0.02), and no norm after the first unless asked."""
    for module in chain:
        if isinstance(module, Map):
            nn.init.normal_(module.weight, std=0.02)
    first = next((i for i, module in enumerate(chain) if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)), None)
    kept = [module for i, module in enumerate(chain) if first_norm or i != first]
    return nn.Sequential(*kept)


@dataclass(kw_only=True, eq=False, repr=False)
class GPND(UnmirroredDetector):
    """−log likelihood of a row: its code along a learned manifold, and its distance from it.

    The score is in nats and can be negative; greater = more anomalous. It compares rows within one fitted model.
    """

    key: ClassVar[str] = "gpnd"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {
            "hidden_sizes": (128, 256, 512),
            "decoder_hidden_sizes": (128, 256, 256),
            "discriminator_sizes": (64, 256, 512),
            "latent_dim": 16,
            "power": 0.2,
            "learning_rate": 2e-3,
            "decay_epochs": 30,
            "epochs": 80,
            "batch_size": 128,
        },
    }

    latent_dim: int = param(8, "Width of the code; at most half of the row's.", ge=1, source="as `dagmm`; the code: 16")
    early_stopping: bool = param(
        False, "Watch a tenth of the rows (from 200 on) and keep the weights of the least sum of all terms.",
        source="off: the terms of a game work against each other, so their sum says little",
    )  # fmt: skip
    jacobian: str = param(
        "decoder", "Whose volume term: the decoder's, or the encoder's with its sign.",
        choices=("decoder", "encoder"), source="the paper's; the published code: encoder",
    )  # fmt: skip
    power: float = param(
        1.0, "Factor on the dimension of the normal space.", gt=0, source="1: the formula; the published code: 0.2"
    )
    score_by: str = param(
        "density", "−log p of the row, of its part along the manifold, or of its part away from it.", choices=SCORES,
        source="density: the paper's",
    )  # fmt: skip
    error: str = param(
        "auto", "Error of rebuilt values: squared, or cross-entropy; 'auto': cross-entropy for images in [0, 1].",
        choices=ERRORS, source="the published code: cross-entropy",
    )  # fmt: skip
    reconstruction_weight: float = param(
        2.0, "Weight of the mean error of a value, against the codes' −log D_z.", gt=0, source="the published code"
    )
    adversarial_weight: float = param(1.0, "Weight of the codes' −log D_z.", gt=0, source="the published code")
    discriminator_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the discriminator of rows. None: the encoder's.", kind="ints", ge=1,
        source="the published 64-256-512 in the preset",
    )  # fmt: skip
    latent_discriminator_sizes: tuple[int, ...] = param(
        (128, 128), "Hidden widths of the discriminator of codes.", ge=1, source="the published code"
    )
    decay_epochs: int | None = param(
        None, "Epochs after which all steps fall to a quarter, again and again. None: they stay.",
        kind="int", ge=1, source="the published code: 30 of 80",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If cross-entropy meets a scaling other than [0, 1].
        """
        there, back = self.plans(shape, linear_code=True)
        unit = self.scaling == "minmax" if len(shape) == 1 else self.pixel_scaling == "unit"
        if self.error == "cross_entropy" and not unit:
            raise InvalidParameter(
                "error='cross_entropy' is for values in [0, 1]: use scaling='minmax', for images pixel_scaling='unit'."
            )
        code_dim = min(self.latent_dim, max(there.n_features // 2, 1))
        back = replace(back, activation="relu" if there.convolutional else there.activation)
        judge = replace(there, hidden_sizes=self.discriminator_sizes or there.hidden_sizes, activation="leaky_relu")
        encoder, decoder, discriminator = there.encoder(code_dim), back.decoder(code_dim), judge.encoder(1)
        if there.convolutional:
            encoder, discriminator = (_as_published(net, first_norm=False) for net in (encoder, discriminator))
            decoder = _as_published(decoder, first_norm=True)
        return GPNDNetwork(
            encoder,
            decoder,
            discriminator,
            code_discriminator(code_dim, self.latent_discriminator_sizes),
            shape=shape,
            code_dim=code_dim,
            cross_entropy=self.error == "cross_entropy" or (self.error == "auto" and len(shape) > 1 and unit),
            reconstruction_weight=float(self.reconstruction_weight),
            adversarial_weight=float(self.adversarial_weight),
            jacobian=self.jacobian,
            power=float(self.power),
            score_by=self.score_by,
            learning_rate=self.learning_rate,
            decay_epochs=self.decay_epochs,
            epochs=self.planned_epochs_,
        )
