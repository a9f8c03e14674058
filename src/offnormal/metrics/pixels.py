"""How well maps of pixel scores find the marked regions: pooled pixel curves in constant memory, PRO, Dice.

Greater score = more anomalous. A mask is True where a pixel is anomalous. All images' pixels are pooled, those of good
images too, and flagged means score > cut, as everywhere here.

Three figures that are easily taken for each other:

- `PixelCurves.pro_area`: the per-region overlap as a curve over all cuts, integrated up to a false-positive rate
  (Bergmann, Fauser, Sattlegger and Steger, CVPR 2020).
- `mean_region_overlap`: the per-region overlap of one segmentation, made with one cut (the same authors, CVPR 2019).
- Dice: of pixels, whatever region they lie in; per case or pooled; at a given cut or at the best one (an oracle).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, InvalidParameter
from offnormal.metrics.ranking import precision_recall_f1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Connectivity = Literal[4, 8]
FEWEST_BITS, MOST_BITS = 12, 24
SIGN = np.uint32(1 << 31)


class Curve(NamedTuple):
    """What every cut gives, from none flagged to all flagged; (fpr, tpr) is the ROC, (fpr, overlap) the PRO curve.

    Attributes
    ----------
    cuts : array of float64, shape (points,)
        Falling; flagged: score > cut. Each is the greatest float32 that gives its point.
    fpr : array of float64, shape (points,)
        Flagged share of the pixels outside all masks, from 0 to 1.
    tpr : array of float64, shape (points,)
        Flagged share of the pixels inside the masks, from 0 to 1.
    overlap : array of float64, shape (points,)
        Flagged share of a region, averaged over all regions of all images, from 0 to 1.
    """

    cuts: Floats
    fpr: Floats
    tpr: Floats
    overlap: Floats


class Segmentation(NamedTuple):
    """What one cut gives: pooled Dice, mean region overlap, and the shares of anomalous and normal pixels flagged."""

    cut: float
    dice: float
    overlap: float
    tpr: float
    fpr: float


class Accuracies(NamedTuple):
    """Share of the good images not flagged, and share of the anomalous images flagged."""

    good: float
    anomalous: float


class PixelCurves:
    """Counts of pixel scores from which the pooled pixel figures follow, in memory that does not grow with the images.

    The 32 bits of a float32 can be rearranged so that they sort as the number does. The first `bits` of them say in
    which bin a score is counted, so no range need be known before, and scores are told apart that differ by more than
    one part in 2^(`bits` − 9): 1 in 2,048 for the usual 20 bits. Scores that share a bin count as tied. Values with few
    digits are not rounded at all: with 20 bits whole numbers up to 4,096 and all k/255 keep bins of their own. `tied`
    says how much the rounding can matter; no figure here needs the pixels again.

    Bytes held: 24 · 2^`bits`, 25 million for 20 bits.

    Parameters
    ----------
    connectivity : {8, 4}
        Whether pixels of a mask that touch by a corner are of one region (8) or not (4). Published programs differ.
    bits : int
        12 to 24.

    Attributes
    ----------
    images, regions, normal_pixels, anomalous_pixels : int
        Counted so far.

    Examples
    --------
    >>> import numpy as np
    >>> curves = PixelCurves()
    >>> curves.add(np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([[False, True], [False, True]]))
    >>> curves.auroc()
    1.0
    """

    def __init__(self, *, connectivity: Connectivity = 8, bits: int = 20) -> None:
        _checked_connectivity(connectivity)
        if not FEWEST_BITS <= bits <= MOST_BITS:
            raise InvalidParameter(f"bits must be {FEWEST_BITS} to {MOST_BITS}; got {bits!r}.")
        self.connectivity, self.bits = connectivity, bits
        self.images = self.regions = self.normal_pixels = self.anomalous_pixels = 0
        self._normal: Ints = np.zeros(1 << bits, dtype=np.int64)
        self._anomalous: Ints = np.zeros(1 << bits, dtype=np.int64)
        self._overlap: Floats = np.zeros(1 << bits)  # of a region's pixels each counts 1/(pixels of the region)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the counts, the same from the start on."""
        return self._normal.nbytes + self._anomalous.nbytes + self._overlap.nbytes

    def add(self, score_map: ArrayLike, mask: ArrayLike) -> None:
        """Count the pixels of one image.

        Parameters
        ----------
        score_map : array of numbers, shape (h, w)
            Finite as float32.
        mask : array of bool, shape (h, w)
            All False for a good image.

        Raises
        ------
        DataError
            If they do not fit each other or are not of these kinds; nothing is counted then.
        """
        scores, marked = _checked_map(score_map), _checked_mask(mask)
        if scores.shape != marked.shape:
            raise DataError(f"A map and its mask must have one shape; got {scores.shape} and {marked.shape}.")
        labels, sizes = _regions(marked, self.connectivity)
        bins = self._bins(scores)
        np.add.at(self._normal, bins[~marked], 1)
        np.add.at(self._anomalous, bins[marked], 1)
        np.add.at(self._overlap, bins[marked], 1 / sizes[labels[marked] - 1])
        self.images += 1
        self.regions += len(sizes)
        self.anomalous_pixels += int(sizes.sum())
        self.normal_pixels += marked.size - int(sizes.sum())

    def merge(self, other: PixelCurves) -> None:
        """Add another's counts, as if its images had come here.

        Counts of pixels do not depend on the order; overlaps do in their last digits, being sums of fractions.

        Raises
        ------
        InvalidParameter
            If the other one counts with another connectivity or other bits.
        """
        if (self.bits, self.connectivity) != (other.bits, other.connectivity):
            raise InvalidParameter(
                f"Only curves of the same bits and connectivity can be merged; got {self.bits} and {other.bits} bits, "
                f"connectivity {self.connectivity} and {other.connectivity}."
            )
        self._normal += other._normal
        self._anomalous += other._anomalous
        self._overlap += other._overlap
        self.images += other.images
        self.regions += other.regions
        self.normal_pixels += other.normal_pixels
        self.anomalous_pixels += other.anomalous_pixels

    def curve(self) -> Curve:
        """Return the points of all cuts; between two of them lie the pixels of one bin."""
        bins, normal, anomalous, overlap = self._falling()
        # The last cut lies below all scores, and each cut above ends the bin beneath the one that it lets in.
        cuts = np.concatenate([self._last_value(bins[:1]), self._last_value(bins - 1)])
        # Each is divided by its own last sum; that of the overlaps is the number of regions, but for rounding.
        return Curve(cuts, *(sums / sums[-1] for sums in map(_from_zero, (normal, anomalous, overlap))))

    def auroc(self) -> float:
        """Return the probability that an anomalous pixel outranks a normal one, pixels of one bin counted half."""
        curve = self.curve()
        return _area(curve.fpr, curve.tpr)

    def tied(self) -> float:
        """Return the share of pairs, a normal and an anomalous pixel, that one bin holds.

        The AUROC of the float32 scores themselves differs from `auroc` by half of this at most.
        """
        _, normal, anomalous, _ = self._falling()
        return float(np.dot(normal / self.normal_pixels, anomalous / self.anomalous_pixels))

    def average_precision(self) -> float:
        """Return Σ (R_n − R_{n−1}) P_n over the cuts, without interpolation; the share of anomalous pixels by chance.

        It changes with that share, so it compares maps of the same test images only.
        """
        _, normal, anomalous, _ = self._falling()
        hits = np.cumsum(anomalous)
        precision = hits / (hits + np.cumsum(normal))
        return float(np.dot(anomalous / self.anomalous_pixels, precision))

    def pro_area(self, max_fpr: float = 0.3) -> float:
        """Return the area under the PRO curve up to a false-positive rate, divided by that rate: 0 to 1.

        Each region of each image counts the same, however large. The rate is that of all pixels outside all masks,
        those of images with a defect too. The curve is read linearly between its points, at `max_fpr` as well; maps
        that tell nothing get `max_fpr` / 2.

        Parameters
        ----------
        max_fpr : float
            Above 0, at most 1.
        """
        if not 0 < max_fpr <= 1:
            raise InvalidParameter(f"max_fpr must be above 0 and at most 1; got {max_fpr!r}.")
        _, fpr, _, overlap = self.curve()
        inside = int(np.searchsorted(fpr, max_fpr, side="right"))
        x, y = fpr[:inside], overlap[:inside]
        if x[-1] < max_fpr:  # so there is a next point, beyond it: the last has a rate of 1
            end = np.interp(max_fpr, fpr[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
            x, y = np.append(x, max_fpr), np.append(y, end)
        return _area(x, y) / max_fpr

    def at(self, cut: float) -> Segmentation:
        """Return what a cut gives.

        Parameters
        ----------
        cut : float
            Moved up to the end of its bin, which is the cut that comes back: by less than one part in 2^(`bits` − 9),
            next to 0 by less than 1e-38.
        """
        if np.isnan(cut):
            raise InvalidParameter("A cut must be a number; got NaN.")
        bins, normal, anomalous, overlap = self._falling()
        with np.errstate(over="ignore"):  # a cut beyond float32 flags none, or all
            moved = self._bins(np.minimum(np.asarray([cut], dtype=np.float32), np.finfo(np.float32).max))
        flagged = bins > moved[0]
        hits, false = int(anomalous[flagged].sum()), int(normal[flagged].sum())
        return Segmentation(
            float(self._last_value(moved)[0]),
            _dice(hits, hits + false, self.anomalous_pixels),
            float(overlap[flagged].sum() / overlap.sum()),  # as in `curve`
            hits / self.anomalous_pixels,
            false / self.normal_pixels,
        )

    def oracle_dice(self) -> Segmentation:
        """Return the cut with the best pooled Dice, written ⌈Dice⌉: an oracle, since only the masks can tell the cut.

        Of equal ones, the greatest cut.
        """
        bins, normal, anomalous, _ = self._falling()
        hits = np.cumsum(anomalous)
        dice = 2 * hits / (hits + np.cumsum(normal) + self.anomalous_pixels)
        return self.at(float(self._last_value(bins[np.argmax(dice)][None] - 1)[0]))

    def _falling(self) -> tuple[Ints, Ints, Ints, Floats]:
        """Return the bins in use by falling score, and what each holds."""
        if self.anomalous_pixels == 0:
            raise DataError(
                f"Pixels can be ranked where some are marked and some are not; the {self.images:,} masks mark none."
            )
        if self.normal_pixels == 0:
            raise DataError(
                f"Pixels can be ranked where some are marked and some are not; the {self.images:,} masks mark all."
            )
        bins = np.flatnonzero(self._normal + self._anomalous)[::-1]
        return bins, self._normal[bins], self._anomalous[bins], self._overlap[bins]

    def _bins(self, values: NDArray[np.float32]) -> Ints:
        """Return the bin of each value, shape as it came; bins sort as the values do."""
        raw = (values + np.float32(0)).view(np.uint32)  # −0 + 0 = 0, so that both zeros share a bin
        key = np.where(raw & SIGN, ~raw, raw | SIGN)
        return (key >> np.uint32(32 - self.bits)).astype(np.int64)

    def _last_value(self, bins: Ints) -> Floats:
        """Return the greatest float32 of each bin."""
        key = (((bins + 1) << (32 - self.bits)) - 1).astype(np.uint32)
        key -= key == SIGN - 1  # −0 counts as 0, so the greatest value below 0 is the one before it
        values: Floats = np.where(key & SIGN, key ^ SIGN, ~key).view(np.float32).astype(np.float64)
        return values


def dice(flagged: ArrayLike, mask: ArrayLike) -> float:
    """Return the Dice of one case, 2|P ∩ G| / (|P| + |G|).

    A case in which nothing is marked and nothing flagged has 1: there was nothing to find, and nothing was found. A
    mean over cases therefore depends on how many without anomalies are taken in; `pooled_dice` hardly does.

    Parameters
    ----------
    flagged, mask : array of bool, one shape
        An image, or a volume of any number of axes.
    """
    return _dice(*_counts(flagged, mask))


def pooled_dice(flagged: Iterable[ArrayLike], masks: Iterable[ArrayLike]) -> float:
    """Return the Dice of all pixels of all cases taken as one; 1 where nothing is marked and nothing flagged.

    Parameters
    ----------
    flagged, masks : iterables of array of bool
        One pair per case, as in `dice`.
    """
    counts = np.array([_counts(p, g) for p, g in _pairs(flagged, masks)])
    return _dice(*counts.sum(axis=0).tolist())


def region_overlaps(flagged: ArrayLike, mask: ArrayLike, *, connectivity: Connectivity = 8) -> Floats:
    """Return the flagged share |P ∩ C| / |C| of each region C of one mask, shape (regions,), empty for a good image.

    Parameters
    ----------
    flagged, mask : array of bool, shape (h, w)
    connectivity : {8, 4}
        As in `PixelCurves`.
    """
    _checked_connectivity(connectivity)
    marked = _checked_mask(mask)
    flags = _flags_like(flagged, marked)
    labels, sizes = _regions(marked, connectivity)
    hits = np.bincount(labels[flags & marked] - 1, minlength=len(sizes))
    return np.asarray(hits / sizes, dtype=np.float64)


def mean_region_overlap(
    flagged: Iterable[ArrayLike], masks: Iterable[ArrayLike], *, connectivity: Connectivity = 8
) -> float:
    """Return the flagged share of a region, averaged over all regions of all images: one cut, not the PRO curve.

    By itself it rewards flagging everything; give the false-positive rate beside it.

    Parameters
    ----------
    flagged, masks : iterables of array of bool, each of shape (h, w)
        One pair per image, after whatever cleaning the flagged pixels went through.
    connectivity : {8, 4}
        As in `PixelCurves`.
    """
    shares = [region_overlaps(p, g, connectivity=connectivity) for p, g in _pairs(flagged, masks)]
    regions = np.concatenate([*shares, np.empty(0)])
    if len(regions) == 0:
        raise DataError(f"The overlap with marked regions needs at least one; the {len(shares):,} masks mark none.")
    return float(regions.mean())


def image_accuracies(y: ArrayLike, flagged: ArrayLike) -> Accuracies:
    """Return how many of the good and how many of the anomalous images are decided rightly, apart.

    Parameters
    ----------
    y : array of 0 and 1, shape (n,)
        1 = the image has an anomaly.
    flagged : array of bool, shape (n,)
        By the usual rule, an image is flagged if any of its pixels is.
    """
    flags, anomalous = np.asarray(flagged), precision_recall_f1(y, flagged).recall
    labels = np.asarray(y).astype(bool)
    if labels.all() or not labels.any():
        raise DataError(f"Good and anomalous images are needed; all {len(labels):,} are of one kind.")
    return Accuracies(precision_recall_f1(~labels, ~flags).recall, anomalous)


def _counts(flagged: ArrayLike, mask: ArrayLike) -> tuple[int, int, int]:
    """Return how many pixels are flagged and marked, how many flagged, and how many marked."""
    marked = _checked_bool(mask)
    flags = _flags_like(flagged, marked)
    return int((flags & marked).sum()), int(flags.sum()), int(marked.sum())


def _pairs(flagged: Iterable[ArrayLike], masks: Iterable[ArrayLike]) -> list[tuple[ArrayLike, ArrayLike]]:
    pairs = list(zip_longest(flagged, masks))
    if not pairs or any(one is None for pair in pairs for one in pair):
        raise DataError("One mask per array of flagged pixels is needed, and at least one of each.")
    return pairs


def _dice(hits: int, flagged: int, marked: int) -> float:
    return 2 * hits / (flagged + marked) if flagged + marked else 1.0


def _regions(marked: Flags, connectivity: Connectivity) -> tuple[Ints, Ints]:
    """Return the number of each pixel's region, from 1, 0 outside, shape (h, w), and their sizes, shape (regions,)."""
    from scipy import ndimage

    labels, count = ndimage.label(marked, structure=np.ones((3, 3)) if connectivity == 8 else None)
    return labels, np.bincount(labels[marked], minlength=count + 1)[1:]


def _from_zero(counts: NDArray[Any]) -> Floats:
    """Return running sums, with the 0 before the first, shape (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])


def _area(x: Floats, y: Floats) -> float:
    return float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2))


def _checked_connectivity(connectivity: int) -> None:
    if connectivity not in (4, 8):
        raise InvalidParameter(f"connectivity must be 4 or 8; got {connectivity!r}.")


def _checked_map(score_map: ArrayLike) -> NDArray[np.float32]:
    given = np.asarray(score_map)
    if given.ndim != 2 or given.size == 0 or given.dtype.kind not in "fiu":
        raise DataError(f"A map must be numbers of shape (h, w); got {given.dtype} of shape {given.shape}.")
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        scores = given.astype(np.float32)
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise DataError(f"The scores of a map must be finite; {bad:,} are NaN, infinite or beyond float32.")
    return scores


def _checked_mask(mask: ArrayLike) -> Flags:
    marked = _checked_bool(mask)
    if marked.ndim != 2 or marked.size == 0:
        raise DataError(f"A mask must have shape (h, w); got {marked.shape}.")
    return marked


def _checked_bool(mask: ArrayLike) -> Flags:
    marked = np.asarray(mask)
    if marked.dtype != bool:
        raise DataError(f"A mask must be True or False; got {marked.dtype}. Compare it first, e.g. mask > 0.")
    return marked


def _flags_like(flagged: ArrayLike, marked: Flags) -> Flags:
    flags = np.asarray(flagged)
    if flags.dtype != bool:
        raise DataError(f"Flagged pixels must be True or False; got {flags.dtype}. Compare the map with a cut first.")
    if flags.shape != marked.shape:
        raise DataError(f"Flagged pixels and their mask must have one shape; got {flags.shape} and {marked.shape}.")
    return flags
