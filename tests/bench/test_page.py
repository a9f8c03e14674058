"""The page of results: what it says of records made by hand, and that docs has the page of the raw results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from offnormal.bench import findings, page, records
from offnormal.bench.jobs import Cell, cells
from offnormal.bench.markdown import fit_time
from offnormal.bench.results import current, rows, summary
from offnormal.bench.tables import ADBENCH_TABLE, DAGMM_TABLE
from offnormal.errors import DataError

ROOT = Path(__file__).parents[2]
FIGURES = ("precision", "recall", "f1", "average_precision", "best_f1", "cut_f1", "cut_fpr")


def keep(folder: Path, cell: Cell, seed: int, *, auroc: float = 0.9, f1: float = 0.5, **changed: Any) -> None:
    record = {
        "table": cell.table, "data": cell.data.name, "contender": cell.contender.name, "seed": seed,
        "fingerprint": cell.fingerprint, "parameters": cell.parameters, "rows_given": 1840 + seed, "anomalies_given": 0,
        "rows_fitted": 1840, "features": 6, "rows_tested": 1886, "anomalies_tested": 47, "share": 0.025, "flagged": 47,
        "tied": 1, **dict.fromkeys(FIGURES, 0.25), "auroc": auroc, "f1": f1, "fit_seconds": 125.0, "device": "cpu",
        "versions": {"offnormal": "0.1.0", "torch": "2.8"}, "date": f"2026-01-0{seed + 1}T00:00:00Z", **changed,
    }  # fmt: skip
    records.append(records.path_of(folder, cell.table), record)


def cell(row: str, data: str = "thyroid") -> Cell:
    (found,) = cells(DAGMM_TABLE, data=[data], rows=[row])
    return found


def line(folder: Path, row: str) -> list[str]:
    """Return the cells of a row of the first table; a run shared with another table stands there too."""
    (section,) = (part for part in page.page(folder).split("\n## ") if part.startswith(DAGMM_TABLE.title))
    (found,) = (text for text in section.splitlines() if text.startswith((f"| {row} |", f"| *{row}* |")))
    return [part.strip() for part in found.strip("|").split("|")]


def test_a_row_has_mean_spread_runs_and_the_paper_beside_it(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0, f1=0.4)
    keep(tmp_path, cell("DAGMM"), 1, f1=0.6)
    found = dict(zip(page._COLUMNS, line(tmp_path, "DAGMM"), strict=True))
    assert found["runs"] == "2 of 20"
    assert found["F1"] == "0.500 ± 0.141"
    assert found["paper: P / R / F1"] == "0.4766 / 0.4834 / 0.4782 [P]"
    assert found["flagged (tied)"] == "47"
    assert found["fit"] == "2.1 min"
    text = page.page(tmp_path)
    assert "Rows given for training: 1,840 to 1,841, of them anomalies: 0;" in text
    assert "flagged: 2.5 %" in text
    assert "torch 2.8; 2026-01-01 to 2026-01-02." in text
    assert "`offnormal bench run dagmm`" in text
    assert "### arrhythmia" not in text


def test_a_complete_row_tells_its_number_of_runs_alone_and_ties_are_told(tmp_path: Path) -> None:
    for seed in range(5):
        keep(tmp_path, cell("k-NN"), seed, tied=300)
    found = dict(zip(page._COLUMNS, line(tmp_path, "k-NN"), strict=True))
    assert (found["row"], found["runs"], found["flagged (tied)"]) == ("*k-NN*", "5", "47 (300)")


@pytest.mark.parametrize(
    ("trained", "untrained", "marks"),
    [
        ((0.9, 0.5), (0.8, 0.4), ""),
        ((0.9, 0.5), (0.9, 0.5), ""),
        ((0.8, 0.5), (0.9, 0.4), page.BELOW_UNTRAINED),
        ((0.9, 0.4), (0.8, 0.5), page.BELOW_UNTRAINED),
        ((0.4, 0.5), (0.3, 0.4), page.RANKS_BADLY),
        ((0.4, 0.5), (0.5, 0.5), page.RANKS_BADLY + page.BELOW_UNTRAINED),
    ],
)
def test_rows_that_rank_badly_or_below_their_untrained_net_are_marked(
    tmp_path: Path, trained: tuple[float, float], untrained: tuple[float, float], marks: str
) -> None:
    keep(tmp_path, cell("DAGMM"), 0, auroc=trained[0], f1=trained[1])
    keep(tmp_path, cell("DAGMM, untrained"), 0, auroc=untrained[0], f1=untrained[1])
    keep(tmp_path, cell("DAGMM, untrained", "arrhythmia"), 0, auroc=1.0, f1=1.0)  # of another data set
    first = next(text for text in page.page(tmp_path).splitlines() if text.startswith("| DAGMM "))
    assert first.split("|")[1].strip() == f"DAGMM {marks}".strip()


def test_failed_runs_are_told(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0)
    keep(tmp_path, cell("k-NN"), 0, error="ValueError: no")
    text = page.page(tmp_path)
    assert "| *k-NN* | 0 of 5, failed |" in text
    assert "k-NN, 1 failed: ValueError: no" in text
    keep(tmp_path, cell("k-NN"), 0)
    assert "failed" not in page.page(tmp_path)


def test_what_is_not_measured_is_named(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0)
    text = page.page(tmp_path)
    (section,) = (part for part in text.split("\n## ") if part.startswith(DAGMM_TABLE.title))
    names = [contender.name for contender in DAGMM_TABLE.contenders if contender.name != "DAGMM"]
    first, thyroid = section.split("### thyroid\n")
    assert f"\nRows not measured yet: {'; '.join(names)}.\n" in first
    assert "Rows not measured yet" not in thyroid
    assert "\nData sets not measured yet: kddcup; kddcup_rev; arrhythmia.\n" in thyroid
    keep(tmp_path, cell("k-NN", "arrhythmia"), 0)
    (section,) = (part for part in page.page(tmp_path).split("\n## ") if part.startswith(DAGMM_TABLE.title))
    first, thyroid, arrhythmia = section.split("### ")
    assert "; k-NN;" not in first
    assert "\nRows not measured yet: k-NN.\n" in thyroid
    assert "\nRows not measured yet: DAGMM.\n" in arrhythmia
    assert "Tables not measured yet: " in text
    assert "`adbench`" in text.split("Tables not measured yet: ")[1]


def test_pages_are_known_as_ours_and_others_are_not(tmp_path: Path) -> None:
    assert all(
        page.is_ours(text) for text in (page.page(tmp_path), *(findings.page(tmp_path, x) for x in ("en", "ko")))
    )
    assert not page.is_ours("# Findings\n\nRun `offnormal bench page` and see.")


def test_many_data_sets_are_shown_side_by_side(tmp_path: Path) -> None:
    for number, each in enumerate(cells(ADBENCH_TABLE, data=["wbc", "vowels"], protocols=["clean_half"])):
        keep(tmp_path, each, 0, auroc=0.5 + number / 100)
    text = page.page(tmp_path)
    names = [contender.name for contender in ADBENCH_TABLE.contenders]
    assert "| data | " + " | ".join(names) + " |" in text
    n = len(names)
    means = (f"{0.5 + (number + number + n) / 200:.3f}" for number in range(n))
    assert "| mean of the 2 complete lines | " + " | ".join(means) + " |" in text


def test_records_of_an_older_definition_are_not_shown(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0, fingerprint="0" * 16)
    assert "There are no records yet." in page.page(tmp_path)
    assert current(tmp_path, DAGMM_TABLE) == []


def test_the_page_depends_on_the_records_alone(tmp_path: Path) -> None:
    for seed in (1, 0):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.1 * seed)
    first = page.page(tmp_path)
    assert page.page(tmp_path) == first
    kept = records.path_of(tmp_path, "dagmm")
    kept.write_text("".join(reversed(kept.read_text().splitlines(keepends=True))))
    assert page.page(tmp_path) == first


def test_a_summary_has_the_values_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.1 * seed)
    found = summary(current(tmp_path, DAGMM_TABLE), "f1", data="thyroid", contender="DAGMM")
    assert found.values == pytest.approx((0, 0.1, 0.2))
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(0.1), pytest.approx(0.1))
    assert sum(len(row.records) for row in rows(tmp_path, DAGMM_TABLE)) == 3
    with pytest.raises(DataError, match="no record"):
        summary([], data="thyroid")


def test_the_time_of_a_row_is_of_the_runs_without_a_gpu() -> None:
    runs = [{"fit_seconds": 30.0, "device": "cpu"}, {"fit_seconds": 50.0, "device": "cpu"},
            {"fit_seconds": 2.0, "device": "cuda:0"}]  # fmt: skip
    assert fit_time(runs) == "40 s"
    assert fit_time(runs[2:]) == "2.0 s GPU"


def test_the_page_in_docs_is_what_the_raw_results_give() -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == page.page(ROOT / "benchmarks" / "results"), (
        "run offnormal bench page"
    )
