"""The published numbers: consistent with themselves and with what the tables refer to."""

from __future__ import annotations

import pytest

from offnormal.bench import papers
from offnormal.bench.datasets import DATA_SETS
from offnormal.bench.papers import Published, paper_tables, published
from offnormal.bench.tables import TABLES
from offnormal.errors import UnknownName

EVERY = [
    (name, data, protocol, method, Published(*numbers))
    for name, table in paper_tables().items()
    for data, parts in table.items()
    if data != "title"
    for protocol, methods in parts.items()
    for method, numbers in methods.items()
]


@pytest.mark.parametrize(("name", "data", "protocol", "method", "numbers"), EVERY, ids=lambda value: str(value)[:25])
def test_f1_is_that_of_precision_and_recall(
    name: str, data: str, protocol: str, method: str, numbers: Published
) -> None:
    """To 0.001 for the contaminated runs; means over runs differ by a little more, the more the runs differ."""
    precision, recall, f1, source = numbers
    close = 0.001 if name == "dagmm_contaminated" else 0.008
    assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=close)
    assert source in papers.SOURCES
    assert data in DATA_SETS


def test_there_are_tables_with_titles() -> None:
    assert len(EVERY) == 12 * 4 + 4 * 5 + 9
    assert all(table["title"] for table in paper_tables().values())


def test_what_the_bench_tables_refer_to_is_there() -> None:
    references = {reference for t in TABLES.values() for c in t.contenders for reference in c.paper}
    assert references
    for reference in references:
        published(reference, "wbc", "dagmm")  # raises for a method that no table has


def test_published_numbers_are_found_or_not() -> None:
    assert published("dagmm:DAGMM", "thyroid", "dagmm") == (0.4766, 0.4834, 0.4782, "P")
    assert published("dagmm:DAGMM", "wbc", "dagmm") is None
    assert published("dagmm:DAGMM", "thyroid", "clean_half") is None
    with pytest.raises(UnknownName, match="Did you mean 'DAGMM'"):
        published("dagmm:DAGM", "thyroid", "dagmm")
    with pytest.raises(UnknownName, match="paper table"):
        published("dagm:DAGMM", "thyroid", "dagmm")
