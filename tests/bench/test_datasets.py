"""Data sets: what is read, what counts as an anomaly, and which rows take part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offnormal.bench import datasets
from offnormal.bench.datasets import DATA_SETS, VARIABLE, DataSet, classes, data_set, load, take
from offnormal.errors import DataError, UnknownName

ROWS = {  # from the table of the data folder: rows, columns, anomalies
    "kddcup": (494_021, 41, 97_278), "kddcup_rev": (494_021, 41, 396_743), "thyroid": (3772, 6, 93),
    "arrhythmia": (452, 274, 66), "annthyroid": (7200, 6, 534), "cardio": (1831, 21, 176), "letter": (1600, 32, 100),
    "mammography": (11183, 6, 260), "musk": (3062, 166, 97), "optdigits": (5216, 64, 150),
    "pendigits": (6870, 16, 156), "satellite": (6435, 36, 2036), "satimage-2": (5803, 36, 71),
    "shuttle": (49097, 9, 3511), "vowels": (1456, 12, 50), "wbc": (223, 9, 10), "wbc_odds378": (378, 30, 21),
    "mvtec_screw_64": (480, 64, 64, 119), "magnetic_tile_64": (1344, 64, 64, 392),
    "mvtec_screw": (480, 256, 256, 119), "mvtec_screw_128": (480, 128, 128, 119),
    "mvtec_leather": (28, 256, 256, 3, 20), "magnetic_tile": (1344, 128, 128, 392),
    "ucsd_ped2": (4140, 1, 16, 256, 256, 1526), "ucsd_ped2_64": (4140, 1, 16, 64, 96, 1526),
}  # fmt: skip
CLASSES = {  # training and test images of each class together
    "mnist": (6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958),
    "fashion_mnist": (7000,) * 10,
    "cifar10": (1303, 1289, 1300, 1303, 1290, 1286, 1312, 1302, 1306, 1309),
}


@pytest.mark.parametrize("name", [name for name, data in DATA_SETS.items() if not data.group])
def test_every_data_set_has_the_rows_it_should(name: str, shared_data: Path) -> None:
    rows, y = load(data_set(name))
    assert (*rows.shape, int(y.sum())) == ROWS[name]
    assert set(np.unique(y)) == {0, 1}


@pytest.mark.parametrize("group", CLASSES)
def test_every_class_of_a_set_of_images_is_a_data_set_of_all_its_images(group: str, shared_data: Path) -> None:
    every = [load(data_set(name)) for name in classes(group)]
    assert [int(y.sum()) for _, y in every] == list(CLASSES[group])
    assert all(images is every[0][0] for images, _ in every)  # read once
    images = every[0][0]
    assert images.dtype == np.uint8
    assert images.shape[1:] == ((32, 32, 3) if group == "cifar10" else (28, 28))
    assert np.array_equal(np.sum([y for _, y in every], axis=0), np.ones(len(images)))


def test_images_with_masks_are_shrunk_by_their_means_and_a_defect_by_any_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    first, then = (draw.integers(0, 256, (rows, 4, 6), dtype=np.uint8) for rows in (2, 3))
    mask = draw.random((3, 4, 6)) < 0.15
    mask[0] = False
    np.savez(tmp_path / "parts.npz", x_train=first, x_test=then, y_test=np.array([0, 1, 1], dtype=np.uint8),
             mask_packed=np.packbits(mask.reshape(3, -1), axis=1), mask_shape=mask.shape)  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    data = DataSet("parts", "parts.npz", shrink=2, masked=True)
    images, y = load(data)
    assert (images.shape, images.dtype) == ((5, 2, 3), np.uint8)
    assert list(y) == [0, 0, 0, 1, 1]
    assert images[1, 1, 2] == np.rint(first[1, 2:, 4:].mean())
    assert images[3, 0, 1] == np.rint(then[1, :2, 2:4].mean())
    masks = datasets.masks(data)
    assert not masks[:3].any()
    assert masks[3:].any()
    for image, row, column in np.ndindex(2, 2, 3):
        square = mask[1 + image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert masks[3 + image, row, column] == square.any()


def test_the_masks_are_of_the_defects(shared_data: Path) -> None:
    for name, without in (("mvtec_screw_64", 0), ("magnetic_tile_64", 5)):
        data = data_set(name)
        _, y = load(data)
        marked = datasets.masks(data).any((1, 2))
        assert not marked[y == 0].any()
        assert (y == 1).sum() - marked.sum() == without


def test_a_fast_run_takes_few_images() -> None:
    y = (np.arange(70_000) % 10 == 0).astype(np.int64)
    pool = data_set("mnist_0").pool(y, 0, fast=True)
    assert (len(pool), y[pool].sum()) == (datasets.FAST_IMAGES, datasets.FAST_IMAGES // 10)
    assert len(data_set("magnetic_tile_64").pool(y[:1344], 0, fast=True)) <= datasets.FAST_IMAGES


def test_the_raw_kddcup_file_keeps_its_texts_and_loses_its_label(shared_data: Path) -> None:
    rows, y = load(data_set("kddcup"))
    assert "label" not in rows.column_names
    assert [rows[name].type for name in ("protocol_type", "service", "flag")] == ["string"] * 3
    assert rows.slice(0, 1).to_pylist()[0]["service"] == "http"
    assert y[0] == 1  # the first row of the file is normal traffic, the anomaly of the papers
    assert load(data_set("kddcup_rev"))[1][0] == 0


def test_kddcup_rev_has_all_normal_rows_and_one_attack_to_four_of_them() -> None:
    y = np.zeros(494_021, dtype=np.int64)
    y[97_278:] = 1
    pools = [data_set("kddcup_rev").pool(y, seed) for seed in (0, 0, 1)]
    assert len(pools[0]) == 121_597  # as in the paper
    assert y[pools[0]].sum() == 24_319
    assert np.array_equal(pools[0], pools[1])
    assert not np.array_equal(pools[0], pools[2])


def test_a_fast_run_takes_a_part_with_about_the_same_share() -> None:
    y = (np.arange(40_000) % 10 == 0).astype(np.int64)
    pool = DataSet("a", "a.npz").pool(y, 0, fast=True)
    assert len(pool) == datasets.FAST_ROWS
    assert y[pool].mean() == pytest.approx(0.1)
    assert len(DataSet("a", "a.npz").pool(y[:500], 0, fast=True)) == 500


def test_rows_are_taken_from_arrays_and_tables_alike(toy: DataSet) -> None:
    import pyarrow as pa

    rows, _ = load(toy)
    places = np.array([5, 2, 9])
    table = take(pa.table({"a": rows[:, 0]}), places)
    assert np.array_equal(take(rows, places)[:, 0], table["a"].to_numpy())


def test_a_missing_folder_or_file_is_told_with_the_variable(
    toy: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"has no file 'none\.npz'"):
        load(DataSet("none", "none.npz"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="OFFNORMAL_DATA names"):
        load(toy)
    with pytest.raises(UnknownName, match="Did you mean 'thyroid'"):
        data_set("thyriod")
