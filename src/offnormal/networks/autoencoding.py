"""What methods around one encoder and one decoder share.

Letters: b rows, n features, d code.
"""

from __future__ import annotations

from torch import Tensor, nn


class Autoencoding:
    """The code of a row and the row rebuilt from it; a part of a method's module.

    Attributes
    ----------
    encoder, decoder : nn.Sequential
        (b, n) -> (b, d) and (b, d) -> (b, n).
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

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of the code."""
        return tuple(f"code_{i + 1}" for i in range(self.code_dim))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, shape (b, n)."""
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt
