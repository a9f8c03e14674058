"""The published numbers: consistent with themselves and with what the tables refer to."""

from __future__ import annotations

import pytest

from offnormal.bench import papers
from offnormal.bench.datasets import DATA_SETS, classes, data_set
from offnormal.bench.image_protocols import Gpnd, MemaeImages, NineIn, OneClassFifth, RappMultimodal, RappUnimodal
from offnormal.bench.papers import Figure, Published, paper_tables, published, published_figure
from offnormal.bench.tables import TABLES
from offnormal.errors import UnknownName

NUMBERS = [
    (name, data, protocol, method, numbers)
    for name, table in paper_tables().items()
    for data, parts in table.items()
    if data != "title"
    for protocol, methods in parts.items()
    for method, numbers in methods.items()
]
CONTRADICTS_ITSELF = ("egbad", "AnoGAN, feature matching")
"""As published: its precision and recall give .853, its F1 is .887."""
EVERY = [(*where, Published(*numbers)) for *where, numbers in NUMBERS if isinstance(numbers, list)]
FIGURES = [
    (*where, figure, Figure(*number))
    for *where, numbers in NUMBERS
    if isinstance(numbers, dict)
    for figure, number in numbers.items()
]


@pytest.mark.parametrize(("name", "data", "protocol", "method", "numbers"), EVERY, ids=lambda value: str(value)[:25])
def test_f1_is_that_of_precision_and_recall(
    name: str, data: str, protocol: str, method: str, numbers: Published
) -> None:
    """To 0.001 for the contaminated runs; means over runs differ by a little more, the more the runs differ."""
    precision, recall, f1, source = numbers
    assert source in papers.SOURCES
    assert data in DATA_SETS
    if (name, method) == CONTRADICTS_ITSELF:
        return
    close = 0.001 if name == "dagmm_contaminated" else 0.008
    assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=close)


def test_there_are_tables_with_titles() -> None:
    assert len(EVERY) == 12 * 4 + 4 * 5 + 9 + 3 + 4 + 11
    assert len(FIGURES) == 4 * (9 + 4) + 2 * 8 + 5 * 5 + 6 + 2 + 8 + 2 * 2 * 2 + 3
    assert all(table["title"] for table in paper_tables().values())


def test_figures_of_images_are_of_a_protocol_that_measures_them() -> None:
    every = (RappMultimodal(), RappUnimodal(), MemaeImages(), Gpnd(), NineIn(), OneClassFifth())
    protocols = {protocol.name: protocol for protocol in every}
    for _, data, protocol, method, figure, (value, source) in FIGURES:
        if protocol == "own_split":
            assert figure in data_set(data).figures, method
        else:
            assert classes(data), method
            assert figure in protocols[protocol].figures
        assert 0.3 < value < 1
        assert source in papers.SOURCES


def test_published_figures_are_found_or_not() -> None:
    assert published_figure("rapp:AAE, NAP", "mnist", "rapp_multimodal", "auroc") == (0.929, "P")
    assert published_figure("gpnd:GPND", "mnist", "gpnd", "inlier_f1_50") == (0.939, "R")
    assert published_figure("gpnd:GPND", "mnist", "gpnd", "auroc") is None
    assert published_figure("gpnd:GPND", "mnist_3", "gpnd", "inlier_f1_50") is None
    assert published_figure("dagmm:DAGMM", "thyroid", "dagmm", "f1") is None  # has the three numbers instead
    assert published("rapp:AAE, NAP", "mnist", "rapp_multimodal") is None
    assert published("memae:MemAE", "kddcup", "dagmm") == (0.9627, 0.9655, 0.9641, "N")


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
