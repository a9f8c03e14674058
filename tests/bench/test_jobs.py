"""Which record belongs to which cell, and which runs are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from offnormal.bench.contenders import SCORING, Contender
from offnormal.bench.datasets import classes, data_set
from offnormal.bench.jobs import Cell, Job, cells, missing
from offnormal.bench.pixel_tables import PIXEL_TABLES
from offnormal.bench.protocols import CleanHalf, Dagmm
from offnormal.bench.tables import DAGMM_TABLE, TABLES, table_named
from offnormal.errors import InvalidParameter, UnknownName

CONTENDER = Contender("PCA, 1 component", "pca", parameters={"n_components": 1, "scaling": "minmax"})
CELL = Cell("dagmm", data_set("thyroid"), Dagmm(), CONTENDER, 3)


def record(cell: Cell, seed: int, **changed: Any) -> dict[str, Any]:
    return {"fingerprint": cell.fingerprint, "seed": seed, "parameters": dict(cell.parameters), **changed}


def test_the_fingerprint_stays_from_version_to_version() -> None:
    assert CELL.fingerprint == "91d5ab65ec44a7e6"  # hours of runs are known again by it


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, data=data_set("arrhythmia")),
        replace(CELL, data=replace(CELL.data, share=0.1)),
        replace(CELL, protocol=Dagmm(1)),
        replace(CELL, protocol=CleanHalf()),
        replace(CELL, contender=replace(CONTENDER, parameters={"n_components": 2, "scaling": "minmax"})),
        replace(CELL, contender=replace(CONTENDER, key="dagmm", preset="thyroid", parameters={})),
        replace(CELL, fast=True),
    ],
)
def test_another_definition_has_another_fingerprint(other: Cell) -> None:
    assert other.fingerprint != CELL.fingerprint


def test_names_seeds_and_references_can_be_corrected() -> None:
    renamed = replace(CONTENDER, name="PCA", paper=("dsebm:PCA",), baseline=True)
    assert replace(CELL, table="rivals", contender=renamed, seeds=20).fingerprint == CELL.fingerprint


def test_a_preset_counts_by_what_it_says() -> None:
    by_preset = Contender("a", "dagmm", preset="{data}")
    spelled = Contender("b", "dagmm", parameters=by_preset.stated("thyroid"))
    assert replace(CELL, contender=by_preset).fingerprint == replace(CELL, contender=spelled).fingerprint
    with pytest.raises(UnknownName, match="preset of DAGMM"):
        by_preset.stated("wbc")


def test_a_record_of_an_older_default_does_not_count_and_one_before_a_new_parameter_does() -> None:
    older = record(CELL, 0)
    older["parameters"]["max_categories"] = 50
    before = record(CELL, 1)
    del before["parameters"]["max_categories"]
    foreign = record(replace(CELL, protocol=Dagmm(1)), 2)
    assert list(CELL.records([older, before, foreign])) == [1]


def test_the_newest_record_of_a_seed_counts_and_errors_are_tried_again() -> None:
    first, second, failed = record(CELL, 0, auroc=0.5), record(CELL, 0, auroc=0.6), record(CELL, 1, error="no")
    assert CELL.records([first, second, failed, record(CELL, 7)]) == {0: second}
    assert missing([CELL], [first, failed]) == [Job(CELL, 1), Job(CELL, 2)]
    assert missing([CELL], [first, failed], only=[2]) == [Job(CELL, 2)]


def test_cells_come_in_the_order_of_the_table_with_their_seeds() -> None:
    every = cells(DAGMM_TABLE)
    assert [cell.data.name for cell in every[:: len(DAGMM_TABLE.contenders)]] == list(DAGMM_TABLE.data)
    seeds = {cell.contender.name: cell.seeds for cell in every}
    assert (seeds["DAGMM"], seeds["DAGMM, untrained"], seeds["k-NN"]) == (20, 20, 5)
    assert {cell.seeds for cell in cells(DAGMM_TABLE, seeds=2)} == {2}
    assert {cell.seeds for cell in cells(DAGMM_TABLE, seeds=9)} == {5, 9}
    assert {cell.seeds for cell in cells(DAGMM_TABLE, fast=True)} == {1}
    (one,) = cells(DAGMM_TABLE, data=["kddcup"], rows=["k-NN"])
    assert (one.data.name, one.contender.name) == ("kddcup", "k-NN")


def test_a_contender_may_name_its_data_sets() -> None:
    only = replace(DAGMM_TABLE, contenders=(replace(CONTENDER, data=("thyroid",)),))
    assert [cell.data.name for cell in cells(only)] == ["thyroid"]
    with pytest.raises(InvalidParameter, match=r"No run of table 'dagmm' matches all of 'kddcup', 'PCA, 1 component'"):
        cells(only, data=["kddcup"], rows=["PCA, 1 component"])


def test_a_set_of_images_stands_for_its_classes() -> None:
    table = replace(DAGMM_TABLE, data=("thyroid", *classes("mnist"), "cifar10_0"), contenders=(CONTENDER,))
    assert [cell.data.name for cell in cells(table, data=["mnist"])] == [f"mnist_{number}" for number in range(10)]
    assert [cell.data.name for cell in cells(table, data=["cifar10", "mnist_3"])] == ["mnist_3", "cifar10_0"]
    assert len({cell.fingerprint for cell in cells(table)}) == 12


def test_runs_share_a_training_where_one_row_is_another_score_of_it() -> None:
    other = replace(CONTENDER, name="other", scores_of=CONTENDER.name)
    first, second = replace(CELL, contender=CONTENDER), replace(CELL, contender=other)
    assert Job(first, 0).training == Job(second, 0).training
    for alone in (
        Job(second, 1),
        Job(replace(second, data=data_set("arrhythmia")), 0),
        Job(replace(second, protocol=Dagmm(1)), 0),
        Job(replace(second, fast=True), 0),
        Job(replace(second, contender=replace(other, scores_of=None)), 0),
    ):
        assert alone.training != Job(first, 0).training


def test_unknown_names_are_told_with_the_nearest() -> None:
    for chosen, said in (
        ({"data": ["thyriod"]}, "'thyroid'"),
        ({"rows": ["kNN"]}, "'k-NN'"),
        ({"protocols": ["dagm"]}, "'dagmm'"),
    ):
        with pytest.raises(UnknownName, match=f"Did you mean {said}"):
            cells(DAGMM_TABLE, **chosen)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="Did you mean 'dagmm'"):
        table_named("dagm")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_baselines_no_row_twice_and_every_untrained_net_its_row(name: str) -> None:
    table, every = TABLES[name], cells(TABLES[name])
    names = [contender.name for contender in table.contenders]
    assert len(set(names)) == len(names)
    assert len({cell.fingerprint for cell in every}) == len(every)
    needed = {"mean_image", "patch_pca"} if table in PIXEL_TABLES else {"pca", "knn", "em_mixture", "isolation_forest"}
    assert needed <= {c.key for c in table.contenders if c.baseline}
    for contender in table.contenders:
        assert contender.untrained_of is None or contender.untrained_of in names
        if contender.scores_of is not None:
            (trained,) = (other for other in table.contenders if other.name == contender.scores_of)
            assert trained.scores_of is None
            one, two = (row.in_effect(table.data[0]) for row in (contender, trained))
            assert {key for key in one if one[key] != two[key]} <= set(SCORING)
