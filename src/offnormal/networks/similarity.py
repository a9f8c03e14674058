"""How two rows differ, value by value: squared, absolute, or by the structure of the pixels around.

Structural similarity: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity", IEEE TIP 2004; as the loss and the residual map of an autoencoder: Bergmann, Löwe, Fauser, Sattlegger,
Steger, "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to Autoencoders", VISAPP 2019.

Letters: b rows, n features, c t h w channels, frames, height, width; p, q the images compared, d = p − q; μ, v mean and
variance within the window around a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from offnormal.errors import InvalidParameter

WINDOW = 11
"""Side of the window, in pixels."""
SIGMA = 1.5
"""Standard deviation of a Gaussian window of that side; it grows and shrinks with the side."""
LUMINANCE_CONSTANT, STRUCTURE_CONSTANT = 0.01, 0.03
"""Wang's K1 and K2, in units of the data range."""
WANG, BERGMANN = (LUMINANCE_CONSTANT**2, STRUCTURE_CONSTANT**2), (LUMINANCE_CONSTANT, STRUCTURE_CONSTANT)
"""c₁ and c₂ for pixels within [0, 1]: (0.01 L)² and (0.03 L)², or 0.01 and 0.03 as Bergmann et al. are quoted with."""
DIFFERENCES = ("l2", "l1", "ssim")

Difference = Callable[[Tensor, Tensor], Tensor]
"""Two batches of rows, each (b, *shape) -> the parts of their difference, (b, *shape)."""


def difference_named(
    name: str, shape: tuple[int, ...], *, window: int = WINDOW, constants: tuple[float, float] = WANG
) -> Difference:
    """Return one of `DIFFERENCES` for rows of `shape`; `window` and `constants` are for "ssim" alone.

    Raises
    ------
    InvalidParameter
        If structural similarity is asked for on vectors, or its window does not fit the images.
    """
    if name != "ssim":
        return {"l2": squared, "l1": absolute}[name]
    if len(shape) == 1:
        raise InvalidParameter(
            "Structural similarity compares images, and these rows are columns of a table; take 'l2' or 'l1'."
        )
    check_window(window, shape[-2:])
    return partial(dissimilarity, window=window, constants=constants)


def squared(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Return (x − x′)², the shape of `x`."""
    return (x - rebuilt).square()


def absolute(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Return |x − x′|, the shape of `x`."""
    return (x - rebuilt).abs()


def dissimilarity(x: Tensor, rebuilt: Tensor, *, window: int = WINDOW, constants: tuple[float, float] = WANG) -> Tensor:
    """Return (1 − SSIM)/c of each channel at each pixel, (b, c, …, h, w), each within [0, 2/c].

    Their sum over channels is 1 − SSIM, 0 where the images agree. Pixels are taken to lie within [0, 1].
    """
    luminance, structure = similarity_terms(x, rebuilt, window=window, constants=constants)
    return (1 - luminance * structure) / x.shape[1]


def structural_similarity(
    p: Tensor, q: Tensor, *, window: int = WINDOW, kernel: str = "gaussian", data_range: float = 1.0
) -> Tensor:
    """Return the structural similarity at each pixel, averaged over channels: (b, c, h, w) -> (b, h, w).

    SSIM(p, q) = (2 μ_p μ_q + c₁)(2 cov_pq + c₂) / ((μ_p² + μ_q² + c₁)(v_p + v_q + c₂)), within [−1, 1]: equation 13 of
    Wang et al. (from memory, not re-read). Parameters as `similarity_terms`.
    """
    luminance, structure = similarity_terms(p, q, window=window, kernel=kernel, data_range=data_range)
    return (luminance * structure).mean(1)


def similarity_terms(
    p: Tensor,
    q: Tensor,
    *,
    window: int = WINDOW,
    kernel: str = "gaussian",
    data_range: float = 1.0,
    constants: tuple[float, float] = WANG,
) -> tuple[Tensor, Tensor]:
    """Return the two factors of structural similarity: of means, and of contrast and structure; each the shape of `p`.

        l  = (2 μ_p μ_q + c₁) / (μ_p² + μ_q² + c₁) = 1 − μ_d² / (μ_p² + μ_q² + c₁)
        cs = (2 cov_pq + c₂) / (v_p + v_q + c₂)    = 1 − v_d / (v_p + v_q + c₂)

    The right sides are computed: nothing cancels where the images agree. A window's weights sum to 1, and variances are
    about its weighted mean (not the n − 1 of a sample). The image is continued beyond its border by reflection about
    the outermost pixels (c b | a b c), so that every pixel has a value.

    Parameters
    ----------
    p, q : Tensor, shape (b, c, h, w), or (b, c, t, h, w): frame by frame
        float64, or else taken as float32.
    window : int
        Side K, odd, at most h and w.
    kernel : {"gaussian", "uniform"}
        Weights within the window; the Gaussian's standard deviation is 1.5 · K/11.
    data_range : float
        L, between the least and the greatest value a pixel can have.
    constants : (c₁, c₂)
        Of pixels within [0, 1]; times L².
    """
    check_window(window, tuple(p.shape[-2:]))
    c1, c2 = (constant * data_range**2 for constant in constants)
    with torch.autocast(p.device.type, enabled=False):  # variances are small differences of large numbers
        p = p if p.dtype == torch.float64 else p.float()
        q = q.to(p.dtype)
        weights = _weights(window, kernel, p)
        rows, columns = (smoothing_matrix(side, weights) for side in p.shape[-2:])
        moments = torch.stack((p, q, p.square() + q.square(), (p - q).square()))
        mean_p, mean_q, square, square_d = rows @ (moments @ columns.T)
        squared_means, squared_mean_d = mean_p.square() + mean_q.square(), (mean_p - mean_q).square()
        luminance = 1 - squared_mean_d / (squared_means + c1)
        variances, variance_d = (square - squared_means).clamp(min=0), (square_d - squared_mean_d).clamp(min=0)
        return luminance, 1 - variance_d / (variances + c2)


def check_window(window: int, sides: tuple[int, ...]) -> None:
    """Raise `InvalidParameter` unless a window of this side has a middle and fits images of these sides."""
    if window % 2 == 0 or window > min(sides):
        raise InvalidParameter(
            f"The window of structural similarity must have an odd side, at most that of the images; got {window} for "
            f"images of {'×'.join(map(str, sides))}."
        )


def _weights(window: int, kernel: str, like: Tensor) -> Tensor:
    """Return the weights of a window along one axis, shape (window,), summing to 1."""
    places = torch.arange(window, dtype=like.dtype, device=like.device) - window // 2
    if kernel == "gaussian":
        weights = torch.exp(-0.5 * (places / (SIGMA * window / WINDOW)).square())
    else:
        weights = torch.ones_like(places)
    return weights / weights.sum()


def smoothing_matrix(side: int, weights: Tensor) -> Tensor:
    """Return the matrix that averages each place of an axis with its neighbors, shape (side, side).

    `weights` (2 r + 1,) are of the places from r before to r behind, r < side; beyond the ends the axis is reflected.

    A separable window is two such products. On a core they are several times faster than depthwise convolutions, with
    the gradient, for sides of 28 to 256; they need no padded copy, since the reflection is part of the matrix, and no
    arithmetic of fewer digits, as a graphics card's convolutions do unless told.
    """
    reach = len(weights) // 2
    places = torch.arange(side, device=weights.device)[:, None] + torch.arange(-reach, reach + 1, device=weights.device)
    reflected = (side - 1) - ((side - 1) - places.abs()).abs()
    return weights.new_zeros(side, side).scatter_add(1, reflected, weights.expand(side, -1))
