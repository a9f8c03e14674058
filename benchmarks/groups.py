"""False alarms on new machines, with rows and with whole machines held out: the numbers of docs/thresholds.md.

`python benchmarks/groups.py`: a few seconds. Each machine has a place of its own in 30 columns, and its rows lie close
about it; 60 machines are learned from, 60 others come later, and 60 lie three times as far out.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import offnormal
from offnormal.thresholds.cuts import group_rate

MACHINES, EACH, COLUMNS, DRAWS, LEVEL = 60, 100, 30, 8, 0.05


def rows_of(draw: np.random.Generator, spread: float = 1.0) -> Any:
    """Return the rows of new machines, (6000, 30), in the order of the machines."""
    places = spread * draw.normal(size=(MACHINES, COLUMNS))
    return np.repeat(places, EACH, axis=0) + 0.02 * draw.normal(size=(MACHINES * EACH, COLUMNS))


def main() -> None:
    """Print mean ± standard deviation over the draws."""
    machine = np.repeat(np.arange(MACHINES), EACH)
    for calibration in ("holdout", "folds"):
        for apart, groups in (("rows", None), ("machines", machine)):
            alarms, found = [], []
            for seed in range(DRAWS):
                draw = np.random.default_rng(seed)
                learned, later, far = rows_of(draw), rows_of(draw), rows_of(draw, spread=3.0)
                detector = offnormal.PCAReconstruction(
                    n_components=20, calibration=calibration, threshold=f"conformal:{LEVEL}", random_state=seed
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # a tenth of the machines is few
                    detector.fit(learned, groups=groups)
                alarms.append((detector.predict(later) == -1).mean())
                found.append((detector.predict(far) == -1).mean())
            count = detector.calibration_.groups
            promised = LEVEL if count is None else group_rate(LEVEL, count)
            share, power = (f"{np.mean(each):.3f} ± {np.std(each, ddof=1):.3f}" for each in (alarms, found))
            said = f"false alarms {share} (promised {promised:.3f}), far rows found {power}"
            print(f"{calibration}, {apart} apart: {said}")


if __name__ == "__main__":
    main()
