"""What methods around one encoder and one decoder share.

Letters: b rows, d code, c t h w channels, frames, height, width.
"""

from __future__ import annotations

from torch import Tensor, nn

from offnormal.networks.backbones import hidden_activations


class Autoencoding:
    """The code of a row and the row rebuilt from it; a part of a method's module.

    Attributes
    ----------
    encoder, decoder : nn.Sequential
        (b, *shape) -> (b, d) and (b, d) -> (b, *shape).
    code_dim : int
        d.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    code_dim: int

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, shape (b, d)."""
        code: Tensor = self.encoder(x)
        return code

    def encoder_layers(self, x: Tensor) -> list[Tensor]:
        """Return what each layer of the encoder gives, the code last: [(b, …), …, (b, d)]."""
        return hidden_activations(self.encoder, x)

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of the code."""
        return tuple(f"code_{i + 1}" for i in range(self.code_dim))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, (b, *shape)."""
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt

    def score_map(self, x: Tensor) -> Tensor:
        """Return the squared error of each pixel, summed over channels: (b, c, …) -> (b, …)."""
        return (x - self.reconstruct(x)).square().sum(1)


def squared_error(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Return ‖x − x′‖² of each row, summed over everything but the rows: (b, *shape) -> (b,)."""
    return (x - rebuilt).square().flatten(1).sum(1)
