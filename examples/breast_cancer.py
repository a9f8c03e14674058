"""Write scikit-learn's Wisconsin breast cancer table as a CSV file: id, thirty measurements, diagnosis.

    python examples/breast_cancer.py breast_cancer.csv

569 tumors: 357 benign, 212 malignant. The source has no identifiers; `id` is the row number in it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def write_breast_cancer(path: Path) -> None:
    """Write the table to `path`; its folder is made if need be."""
    source = load_breast_cancer()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["id", *source.feature_names, "diagnosis"])
        for number, (measurements, target) in enumerate(zip(source.data, source.target, strict=True)):
            rows.writerow([f"case-{number:03d}", *measurements.tolist(), source.target_names[target]])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python examples/breast_cancer.py OUT.csv")
    write_breast_cancer(Path(sys.argv[1]))
