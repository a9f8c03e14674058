"""Classes of images together: means by hand, and what the page says where only some of the runs are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from offnormal.bench import page, records, tables
from offnormal.bench.contenders import Contender
from offnormal.bench.datasets import classes
from offnormal.bench.groups import Group, groups
from offnormal.bench.image_protocols import Gpnd, RappMultimodal
from offnormal.bench.jobs import Cell, cells
from offnormal.bench.results import rows
from offnormal.bench.table import Table

TABLE = Table(
    "some",
    "Some classes",
    "A table.",
    classes("mnist"),
    (RappMultimodal(),),
    (
        Contender("PCA", "pca", paper=("rapp:AE, NAP",)),
        Contender("PCA, untrained", "pca", parameters={"n_components": 1}, untrained_of="PCA"),
        Contender("k-NN", "knn", baseline=True),
    ),
    3,
)


def keep(folder: Path, cell: Cell, seed: int, auroc: float, **changed: Any) -> None:
    record = {
        "seed": seed, "fingerprint": cell.fingerprint, "parameters": cell.parameters, "rows_given": 100,
        "anomalies_given": 0, "features": 784, "rows_tested": 50, "anomalies_tested": 20, "share": 0.4,
        "auroc": auroc, "average_precision": auroc / 2, "f1": auroc / 4, "fit_seconds": 90.0, "device": "cpu",
        "versions": {"torch": "2.8"}, "date": "2026-01-01T00:00:00Z", **changed,
    }  # fmt: skip
    records.append(records.path_of(folder, cell.table), record)


def fill(folder: Path, table: Table, row: str, values: dict[tuple[int, int], float]) -> None:
    for (number, seed), auroc in values.items():
        (cell,) = cells(table, data=[table.data[number]], rows=[row])
        keep(folder, cell, seed, auroc)


def group(folder: Path) -> Group:
    return groups(rows(folder, TABLE))[0]


def test_the_mean_is_over_classes_its_spread_over_seeds_and_the_range_over_classes(tmp_path: Path) -> None:
    values = {(number, seed): 0.5 + number / 100 + seed / 10 for number in range(10) for seed in range(3)}
    fill(tmp_path, TABLE, "PCA", values)
    found = group(tmp_path)
    assert found.classes == tuple(range(10))
    assert (found.seeds, found.waiting) == ((0, 1, 2), 0)
    # By seed .545, .645, .745; by class .6 to .69.
    assert found.spread("auroc") == pytest.approx((0.645, 0.1, 0.6, 0.69))


@pytest.mark.parametrize(
    ("runs", "classes_counted", "seeds_counted", "waiting"),
    [
        ([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)], (0, 1, 2), (0, 1), 0),
        ([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)], (0, 1, 2), (0,), 2),  # seed 1 waits for class 2
        ([(4, 2)], (4,), (2,), 0),
        ([(0, 0), (1, 1)], (0,), (0,), 1),
        ([], (), (), 0),
    ],
)
def test_a_group_is_of_the_classes_and_seeds_that_are_complete(
    tmp_path: Path,
    runs: list[tuple[int, int]],
    classes_counted: tuple[int, ...],
    seeds_counted: tuple[int, ...],
    waiting: int,
) -> None:
    fill(tmp_path, TABLE, "PCA", dict.fromkeys(runs, 0.7))
    found = group(tmp_path)
    assert (found.classes, found.seeds, found.waiting) == (classes_counted, seeds_counted, waiting)


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, table: Table = TABLE) -> str:
    monkeypatch.setattr(tables, "TABLES", {table.name: table})
    return page.page(folder)


def test_a_baseline_is_of_the_classes_that_the_other_rows_have(tmp_path: Path) -> None:
    fill(tmp_path, TABLE, "k-NN", {(number, 0): 0.5 + number / 100 for number in (0, 1, 8)})
    assert groups(rows(tmp_path, TABLE))[2].classes == (0, 1, 8)
    fill(tmp_path, TABLE, "PCA", {(number, 0): 0.5 for number in (0, 1)})
    found = groups(rows(tmp_path, TABLE))[2]
    assert (found.classes, found.waiting) == ((0, 1), 0)
    assert found.spread("auroc").mean == pytest.approx(0.505)


def test_the_page_has_the_group_beside_the_paper_and_names_the_classes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {(number, seed): 0.8 + number / 100 + seed / 10 for number in range(3) for seed in range(2)}
    fill(tmp_path, TABLE, "PCA", values)
    text = shown(tmp_path, monkeypatch)
    line = next(line for line in text.splitlines() if line.startswith("| PCA "))
    cells_ = [part.strip() for part in line.strip("|").split("|")]
    assert cells_[:3] == ["PCA", "3 of 10: 0, 1, 2", "2 of 3"]
    assert cells_[3] == "0.860 ± 0.071 (0.850 to 0.870); paper 0.899 [P]"
    assert cells_[-1] == "90 s"
    assert "### mnist, rapp_multimodal" in text
    assert "Rows not measured yet: PCA, untrained; k-NN." in text
    fill(tmp_path, TABLE, "PCA", {(0, 2): 0.9})
    assert "3 of 10: 0, 1, 2; left out until the others are there: 1 |" in shown(tmp_path, monkeypatch)


def test_rows_below_their_untrained_net_are_marked_on_the_same_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, TABLE, "PCA", {(0, 0): 0.4})
    fill(tmp_path, TABLE, "PCA, untrained", {(0, 0): 0.45})
    assert f"| PCA {page.RANKS_BADLY}{page.BELOW_UNTRAINED} |" in shown(tmp_path, monkeypatch)
    fill(tmp_path, TABLE, "PCA, untrained", {(1, 0): 0.5})
    assert f"| PCA {page.RANKS_BADLY} |" in shown(tmp_path, monkeypatch)


def test_gpnd_has_its_columns_and_the_papers_f1_in_either_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender = Contender("PCA", "pca", paper=("gpnd:GPND",))
    for protocol in (Gpnd(), Gpnd(100)):
        table = Table("one", "One", "A table.", classes("mnist"), (protocol,), (contender,))
        (first, *_) = cells(table)
        keep(tmp_path, first, 0, 0.9, **dict.fromkeys(Gpnd.figures[1:], 0.75))
        text = shown(tmp_path, monkeypatch, table)
        assert "| inlier F1, 10 % |" in text
        assert "| 0.750; paper 0.983 [R] |" in text
        assert "1 of 10: 0" in text


def test_failed_runs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, TABLE, "PCA, untrained", {(0, 0): 0.5})
    (cell,) = cells(TABLE, data=["mnist_0"], rows=["PCA"])
    keep(tmp_path, cell, 0, 0.0, error="ValueError: no")
    text = shown(tmp_path, monkeypatch)
    assert "| PCA | failed |" in text
    assert "PCA, 1 failed: ValueError: no" in text
