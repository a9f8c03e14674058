"""Which columns made a row's score, in the words of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """Contributions per row and original column.

    Attributes
    ----------
    columns : tuple of str
    parts : dict of array, shape (rows, columns)
        Named parts of the contribution, as the method defines them; the units are those of the score.
    values : sequence of sequence of str
        What stood in each row and column, as text.
    usual : tuple of str
        What is usual in each column: the 5 % to 95 % range of the fitted rows, or the commonest value.
    """

    columns: tuple[str, ...]
    parts: Mapping[str, Floats]
    values: Sequence[Sequence[str]]
    usual: tuple[str, ...]

    @property
    def contributions(self) -> Floats:
        """Return the sum of the parts, shape (rows, columns); greater = more of the score."""
        total: Floats = np.sum(list(self.parts.values()), axis=0)
        return total

    def ranking(self) -> NDArray[np.int64]:
        """Return column indices by falling contribution, shape (rows, columns)."""
        return np.argsort(-self.contributions, axis=1, kind="stable")

    def reasons(self, top: int = 3, *, usually: str = "usually") -> list[list[str]]:
        """Say each row's `top` reasons in words: "worst area = 2501 (usually 380 to 1210)".

        Columns that do not raise the score are left out, so a row may have fewer reasons.
        """
        contributions = self.contributions
        return [
            [
                f"{self.columns[j]} = {self.values[i][j]} ({usually} {self.usual[j]})"
                for j in order[:top]
                if contributions[i, j] > 0
            ]
            for i, order in enumerate(self.ranking())
        ]
