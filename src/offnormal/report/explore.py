"""What the reader can try on a page of images: another cut, and one kind of image at a time.

All scores of the folder are in the page, greatest first, and a small script of our own counts them; the policy of the
page allows that script alone, by its hash. Without scripts the page shows the same at the model's cut.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal.metrics import ranking
from offnormal.report.numerals import measure, number
from offnormal.report.words import Words

Floats = NDArray[np.float64]


MOST_EXPLORED = 100_000
"""Scores in a page, some 3 MB; with more the slider is left out, and the page says so."""


@dataclass(frozen=True)
class Explorable:
    """All images of the report.

    Attributes
    ----------
    scores : array, shape (rows,)
    cut : float
        The model's.
    kinds : tuple of str
        Of each image; none where nobody says.
    labels : array of 0 and 1, shape (rows,), or None
    in_order : bool
        Whether kinds are listed as they come, not by their names.
    """

    scores: Floats
    cut: float
    kinds: tuple[str, ...] = ()
    labels: NDArray[np.int64] | None = None
    in_order: bool = False

    def __post_init__(self) -> None:
        """Hold the kinds against the scores.

        Raises
        ------
        ValueError
            If there is not one for each.
        """
        if self.kinds and len(self.kinds) != len(self.scores):
            raise ValueError(f"There are {len(self.scores)} images and {len(self.kinds)} kinds.")


def explored(found: Explorable, words: Words) -> dict[str, Any]:
    """Return the section's numbers, its data for the script, and the script with its hash."""
    order = np.argsort(-found.scores, kind="stable")
    names = list(dict.fromkeys(found.kinds)) if found.in_order else sorted(set(found.kinds))
    numbers = {name: number for number, name in enumerate(names)}
    flagged = found.scores > found.cut
    live = len(found.scores) <= MOST_EXPLORED
    data = {
        "scores": found.scores[order].tolist() if live else [],
        "cut": found.cut,
        "flagged": int(flagged.sum()),
        "kindNames": names,
        "kinds": [numbers[found.kinds[i]] for i in order] if names and live else [],
    }
    text = script()
    return {
        "data": json.dumps(data).replace("<", "\\u003c"),
        "script": text,
        "hash": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii"),
        "live": live,
        "too_many": None if live else words("explore.too_many", n=len(found.scores), most=MOST_EXPLORED),
        "most": len(found.scores),
        "flagged": data["flagged"],
        "said": words("explore.said", count="{count}", all="{all}", share="{share}", cut="{cut}"),
        "kinds": [_kind(found, name, flagged) for name in names],
        "ranked": found.labels is not None,
    }


def script() -> str:
    """Return the script as it stands in the page, with the newline that the template leaves before and after it."""
    return resources.files("offnormal.report").joinpath("explore.js").read_text(encoding="utf-8").rstrip("\n")


def _kind(found: Explorable, name: str, flagged: NDArray[np.bool_]) -> dict[str, str]:
    """Return how many images of one kind there are, how many are beyond the cut, and how they rank."""
    here = np.array([kind == name for kind in found.kinds])
    return {
        "name": name,
        "images": f"{here.sum():,}",
        "flagged": f"{(here & flagged).sum():,}",
        "median": number(float(np.median(found.scores[here]))),
        "auroc": _auroc(found, here),
    }


def _auroc(found: Explorable, here: NDArray[np.bool_]) -> str:
    """Return the AUROC of the anomalous images of a kind against all normal ones; a dash where there are none."""
    if found.labels is None:
        return ""
    odd, normal = here & (found.labels == 1), found.labels == 0
    if not odd.any() or not normal.any():
        return "–"
    both = odd | normal
    return measure(ranking.auroc(found.labels[both], found.scores[both]))


def kinds_of(given: Sequence[str | None] | None) -> tuple[str, ...]:
    """Return the kinds, empty where none is known; an image without one has the kind "–"."""
    if given is None or not any(given):
        return ()
    return tuple(kind or "–" for kind in given)
