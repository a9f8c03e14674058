"""Variational autoencoder.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014; its use on anomalies by An and Cho, "Variational
Autoencoder based Anomaly Detection using Reconstruction Probability", SNU Data Mining Center TR 2015-03; the weight of
the KL term by Higgins et al., "beta-VAE", ICLR 2017.

An encoder says where the code of a row may lie, a normal distribution over codes, and a decoder says how likely the row
is under each code. Both learn to make the rows likely while the codes stay near a standard normal: a lower bound of the
log-likelihood of a row, the ELBO, is maximized. A row is odd if its bound is low, or one part of the bound is.

Letters: b rows, n features (all values of an image), d code, L codes drawn for a score.

Differences from the papers
---------------------------
1. The likelihood "gaussian" has one standard deviation for all features, learned with the weights. Fixed, it would be a
   second weight of the KL term, in units that differ from table to table; learned, the balance finds itself.
2. No standard deviation of the decoder is below `noise_floor`: without it a column that never varies sends the
   likelihood to infinity.
3. The log-variance of the encoder is kept within [−10, 10].
4. The L codes of a score come from fixed standard normal draws ε, in pairs ε, −ε, the same for every row: a score is
   repeatable, and rows differ by what they are, not by their luck.
5. "bernoulli" on grey values is no likelihood. What is minimized and scored is the divergence of Bernoulli(p) from
   Bernoulli(x), −log p(x|z) less the entropy of x: the same for 0 and 1, the same gradient for all. Values beyond
   [0, 1] count as the end they pass, and the distance beyond as that of a Gaussian of `noise_floor`.
6. The ELBO as a score has the KL term at its full weight, whatever its weight was in training.
7. `an_cho_mnist`: activation, optimizer, epochs and L of the paper are unknown to us; ours are taken.
8. `rapp_mnist`: step, epochs, batch size and the last weights are those of a co-author's code; the paper takes the best
   epoch. The noise is learned; leaky ReLU has slope 0.2; one pass through the mean code takes the place of the mean
   over ten draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding, squared_error
from offnormal.networks.backbones import hidden_activations
from offnormal.networks.mlp import interpolated
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

LOG_VARIANCES = (-10.0, 10.0)
"""Range of the log-variances that networks give: standard deviations from 0.0067 to 148."""
NOISE_STEPS = 10
"""How many times the weights' step the log-variance of the noise takes: one number has far to go, weights have not."""

LIKELIHOODS = ("gaussian", "gaussian_per_feature", "bernoulli")
SCORES = ("elbo", "reconstruction_probability", "kl", "reconstruction", "importance_weighted")


class VAENetwork(Autoencoding, Method):
    """Encoder q(z|x) = N(μ, diag σ²), prior N(0, I), decoder p(x|z).

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        (b, *shape) -> (b, 2d), μ and log σ²; (b, d) -> (b, *shape), or twice the channels for "gaussian_per_feature".
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    likelihood : {"gaussian", "gaussian_per_feature", "bernoulli"}
    noise_sd : float or None
        Standard deviation of "gaussian"; None: learned.
    noise_floor : float
        Least standard deviation that is learned.
    kl_weight : float
        β; 0: the term is left out.
    score_by : str
        One of `SCORES`.
    n_samples : int
        L.
    learning_rate : float
    epochs : int
    """

    exportable = True
    noise: Tensor

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        likelihood: str,
        noise_sd: float | None,
        noise_floor: float,
        kl_weight: float,
        score_by: str,
        n_samples: int,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.code_dim = encoder, decoder, code_dim
        self.likelihood, self.noise_sd, self.noise_floor = likelihood, noise_sd, noise_floor
        self.kl_weight, self.score_by = kl_weight, score_by
        self.learning_rate, self.epochs = learning_rate, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None
        learned = likelihood == "gaussian" and noise_sd is None
        self.noise_log_variance = nn.Parameter(torch.zeros(())) if learned else None
        half = torch.randn((n_samples + 1) // 2, code_dim)
        self.register_buffer("noise", torch.cat([half, -half])[:n_samples])

    # --- the two distributions ------------------------------------------------------------------------------------

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ and log σ² of q(z|x), both (b, d), in the type of `x`."""
        mean, log_variance = self.encoder(x).to(x.dtype).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCES)

    def encode(self, x: Tensor) -> Tensor:
        """Return the code μ, shape (b, d)."""
        return self.posterior(x)[0]

    def encoder_layers(self, x: Tensor) -> list[Tensor]:
        """Return what each layer of the encoder gives, in order, the code μ last: [(b, …), …]."""
        *hidden, _ = hidden_activations(self.encoder, x)
        return [*hidden, self.encode(x)]

    def _mean(self, decoded: Tensor) -> Tensor:
        if self.likelihood == "bernoulli":
            return decoded.sigmoid()
        return decoded.chunk(2, dim=1)[0] if self.likelihood == "gaussian_per_feature" else decoded

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the mean of p(x|μ), (b, *shape)."""
        return self._mean(self.decoder(self.encode(x)))

    def _variance(self, decoded: Tensor) -> Tensor:
        """Return the variance of each value, or of all, in the type of `decoded`."""
        if self.noise_sd is not None and self.likelihood == "gaussian":
            return torch.full((), self.noise_sd**2, dtype=decoded.dtype, device=decoded.device)
        if self.noise_log_variance is not None:
            return self.noise_floor**2 + self.noise_log_variance.to(decoded.dtype).exp()
        return self.noise_floor**2 + decoded.chunk(2, dim=1)[1].clamp(*LOG_VARIANCES).exp()

    def misfit(self, x: Tensor, z: Tensor) -> Tensor:
        """Return −log p(x|z), summed over the values of a row: (b, *shape), (b, d) -> (b,), in the type of `x`."""
        decoded: Tensor = self.decoder(z.to(self.noise.dtype)).to(x.dtype)
        if self.likelihood == "bernoulli":
            within = x.clamp(0, 1)
            entropy = -torch.xlogy(within, within) - torch.xlogy(1 - within, 1 - within)
            divergence = nn.functional.softplus(decoded) - within * decoded - entropy
            return (divergence + 0.5 * ((x - within) / self.noise_floor).square()).flatten(1).sum(1)
        mean, variance = self._mean(decoded), self._variance(decoded)
        return 0.5 * ((x - mean).square() / variance + (2 * math.pi * variance).log()).flatten(1).sum(1)

    # --- training -------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log p(x|z), z one draw from q(z|x), and of β·KL(q(z|x) ‖ N(0, I))."""
        mean, log_variance = self.posterior(batch.x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        terms = {"reconstruction": self.misfit(batch.x, z).mean()}
        if self.kl_weight > 0:
            terms["kl"] = self.kl_weight * divergence_from_prior(mean, log_variance).mean()
        return terms

    def phases(self) -> Sequence[Phase]:
        """One phase, one optimizer; the noise takes larger steps than the weights."""

        def adam(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            groups: list[dict[str, Any]] = [{"params": [p for p in params if p is not self.noise_log_variance]}]
            if self.noise_log_variance is not None:
                groups.append({"params": [self.noise_log_variance], "lr": NOISE_STEPS * self.learning_rate})
            return torch.optim.Adam(groups, lr=self.learning_rate, fused=True)

        update = Update("variational", self.losses, tuple(self.parameters()), adam)
        return (Phase("variational", (update,), self.epochs),)

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons; the score needs nothing."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return the parts whose sum is the score, each float64, shape (b,)."""
        mean, log_variance = (part.double() for part in self.posterior(x))
        if self.score_by == "reconstruction":
            return {"reconstruction": squared_error(x.double(), self._mean(self.decoder(mean.to(x.dtype))).double())}
        kl = divergence_from_prior(mean, log_variance)
        if self.score_by == "kl":
            return {"kl": kl}
        deviation = (0.5 * log_variance).exp()
        draws = self.noise.double()
        # One draw at a time: L copies of a block of images would not fit.
        misfits = torch.stack([self.misfit(x.double(), mean + deviation * draw) for draw in draws])
        if self.score_by == "importance_weighted":
            codes = mean + deviation * draws[:, None]
            odds = 0.5 * (draws[:, None].square() + log_variance - codes.square()).sum(2)  # log p(z) − log q(z|x)
            return {"importance_weighted": math.log(len(draws)) - (odds - misfits).logsumexp(0)}
        parts = {"reconstruction": misfits.mean(0)}
        return parts | {"kl": kl} if self.score_by == "elbo" else parts

    def score(self, x: Tensor) -> Tensor:
        """Return what `score_by` names, float64, shape (b,); in nats, but for "reconstruction"."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part of the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(self.score_parts, self.residuals, x, self.reconstruct(x), groups, n_groups)


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_j (μ_j² + σ_j² − log σ_j² − 1): (b, d), (b, d) -> (b,)."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)


@dataclass(kw_only=True, eq=False, repr=False)
class VAE(BackboneDetector):
    """Variational autoencoder: how likely a row is, bounded from below.

    The score is −ELBO, in nats, an upper bound of −log p(row) up to the noise of L draws; it can be negative, and
    greater = more anomalous. It compares rows within one fitted model. With "reconstruction" it is in squared units of
    the scaled values.
    """

    key: ClassVar[str] = "vae"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "an_cho_mnist": {
            "network": "dense",
            "hidden_sizes": (400,),
            "latent_dim": 200,
            "likelihood": "gaussian_per_feature",
            "score_by": "reconstruction_probability",
        },
        "rapp_mnist": {
            "network": "dense",
            "hidden_sizes": interpolated(784, 20, 10),
            "latent_dim": 20,
            "activation": "leaky_relu",
            "batch_norm": True,
            "score_by": "reconstruction",
            "epochs": 200,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "early_stopping": False,
        },
    }

    likelihood: str = param(
        "gaussian", "p(x|z): one noise for all values, a variance for each value, or values in [0, 1].",
        choices=LIKELIHOODS, source="one learned noise needs no tuning; An and Cho: per feature; Kingma: all",
    )  # fmt: skip
    noise_sd: float | None = param(
        None, "Standard deviation of 'gaussian', in units of the scaled values. None: learned.",
        kind="float", gt=0, source="None: fixed, it is another weight of the KL term",
    )  # fmt: skip
    noise_floor: float = param(
        0.03, "Least standard deviation of the decoder, in units of the scaled values.",
        gt=0, source="a variance of 1e-3; constant columns need one",
    )  # fmt: skip
    kl_weight: float = param(
        1.0, "β, the weight of the KL term in training; 0: none.", ge=0, source="1: the ELBO; others: beta-VAE"
    )
    score_by: str = param(
        "elbo", "−ELBO, −reconstruction probability, KL, squared error of the mean path, or −log p(x) by importance.",
        choices=SCORES, source="elbo: it bounds −log p(x); over eight public tables as good as its first term",
    )  # fmt: skip
    n_samples: int = param(10, "L, codes drawn for a score.", ge=1, source="RaPP: 10")

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If "bernoulli" meets a scaling other than [0, 1].
        """
        within = self.scaling == "minmax" if len(shape) == 1 else self.pixel_scaling == "unit"
        if self.likelihood == "bernoulli" and not within:
            raise InvalidParameter(
                "likelihood='bernoulli' is for values in [0, 1]: use scaling='minmax', for images pixel_scaling='unit'."
            )
        plan = self.plan(shape)
        per_value = 2 if self.likelihood == "gaussian_per_feature" else 1
        return VAENetwork(
            plan.encoder(2 * self.latent_dim),
            plan.decoder(self.latent_dim, outputs_per_value=per_value),
            shape=shape,
            code_dim=self.latent_dim,
            likelihood=self.likelihood,
            noise_sd=None if self.noise_sd is None else float(self.noise_sd),
            noise_floor=float(self.noise_floor),
            kl_weight=float(self.kl_weight),
            score_by=self.score_by,
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )
