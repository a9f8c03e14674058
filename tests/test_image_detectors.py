"""Every method on images: bytes in, scores that obey the same laws as on tables, and maps of the pixels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.decomposition
import torch
from torch import Tensor

import offnormal
from fuzzing import Content, mutations
from offnormal import Autoencoder, DeepSVDD, Images, detector, io
from offnormal.batches import Batches
from offnormal.data.images import ImageSchema, resized
from offnormal.data.pixels import ImagePreprocessor
from offnormal.detector import Detector
from offnormal.errors import DataError, ModelFileError, NotSupported, SchemaMismatch
from offnormal.metrics.ranking import auroc
from offnormal.registry import METHODS, method_class
from offnormal.scorer import BLOCK, block_size
from pixel_laws import check_laws, fitted_once, pca, quick, shapes_built

SIDE = 16
KEEPS_ROWS = {"kernel_pca"}
"""Methods whose model is made of training rows; their pages say so."""


def stripes(rows: int, seed: int, *, odd: bool = False) -> np.ndarray[Any, Any]:
    """Return grey images of waves; the odd ones have a square of 5×5 turned to its negative, at (6, 6)."""
    draw = np.random.default_rng(seed)
    phase, strength = draw.uniform(0, 6, (rows, 1, 1)), draw.uniform(0.5, 1, (rows, 1, 1))
    wave = np.sin(0.8 * np.arange(SIDE)[None, None, :] + phase) * np.ones((1, SIDE, 1))
    images = (127 + 110 * strength * wave + draw.normal(0, 4, (rows, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    if odd:
        images[:, 6:11, 6:11] = 255 - images[:, 6:11, 6:11]
    return images


TRAIN, QUERY = stripes(120, 0), stripes(70, 1)
fitted = fitted_once(TRAIN, 2)


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", METHODS)
def test_the_laws_of_a_score(key: str) -> None:
    model = fitted(key)
    check_laws(model, QUERY)
    assert model.calibration_.n == 12
    assert model.training_["rows"] == 108


@pytest.mark.parametrize("key", METHODS)
def test_a_model_file_gives_the_same_scores_and_holds_no_training_image(key: str, tmp_path: Path) -> None:
    model, path = fitted(key), tmp_path / "model.offnormal"
    offnormal.save(model, path)
    loaded = offnormal.load(path)
    assert loaded.schema_ == model.schema_
    assert np.array_equal(loaded.anomaly_score(QUERY), model.anomaly_score(QUERY))
    assert np.array_equal(loaded.p_value(QUERY), model.p_value(QUERY))
    assert io.info(path)["schema"] == {"image_shape": [1, SIDE, SIDE]}
    content = path.read_bytes()
    for image in TRAIN:
        assert image.tobytes() not in content
        assert (torch.from_numpy(image).float() / 255).numpy().tobytes() not in content
    if key not in KEEPS_ROWS:
        shapes = [tensor.shape for tensor in model.scorer_.state_dict().values()]
        assert not any({len(TRAIN), 108, 97} & set(shape) for shape in shapes), "nothing has a place per training row"


@pytest.mark.parametrize("key", METHODS)
def test_a_method_gets_the_shape_it_can_see(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = shapes_built(key, monkeypatch)
    quick(key, 2, calibration="none").fit(TRAIN[:40, None])
    assert shapes == [(1, SIDE, SIDE) if method_class(key).sees_images else (SIDE**2,)]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_flattened_image_is_a_row_of_a_table() -> None:
    """Splits, calibration and scores are those of the table of the same numbers."""
    table = lambda images: images.reshape(len(images), -1) / 255  # noqa: E731
    on_images = pca(calibration="holdout").fit(TRAIN)
    on_table = pca(calibration="holdout", scaling="none").fit(table(TRAIN))
    np.testing.assert_allclose(on_images.anomaly_score(QUERY), on_table.anomaly_score(table(QUERY)), rtol=1e-4)
    np.testing.assert_allclose(on_images.threshold_.value, on_table.threshold_.value, rtol=1e-4)
    assert np.array_equal(on_images.p_value(QUERY), on_table.p_value(table(QUERY)))


def test_maps_and_rebuilt_images_are_those_of_scikit_learn() -> None:
    flat = TRAIN.reshape(len(TRAIN), -1) / 255
    reference = sklearn.decomposition.PCA(3, svd_solver="full").fit(flat)
    expected = reference.inverse_transform(reference.transform(QUERY.reshape(len(QUERY), -1) / 255))
    model = pca().fit(TRAIN)
    maps, rebuilt = model.residual_maps(QUERY), model.reconstruct(QUERY)
    np.testing.assert_allclose(rebuilt, expected.reshape(QUERY.shape).clip(0, 1), atol=1e-4)
    np.testing.assert_allclose(maps, (QUERY / 255 - expected.reshape(QUERY.shape)) ** 2, atol=1e-4)
    np.testing.assert_allclose(maps.sum((1, 2)), model.anomaly_score(QUERY), rtol=1e-4)
    assert maps.dtype == rebuilt.dtype == np.float32


def test_one_image_in_any_clothing_has_one_score() -> None:
    color = np.stack([TRAIN, TRAIN[::-1], 255 - TRAIN], axis=3)
    for plain in (TRAIN, color):
        first = plain[:, None] if plain.ndim == 3 else np.ascontiguousarray(np.moveaxis(plain, 3, 1))
        model = pca().fit(plain)
        expected = model.anomaly_score(plain)
        forms = [first, Images(first), torch.from_numpy(first), torch.from_numpy(plain)]
        for form in forms:
            assert np.array_equal(pca().fit(form).anomaly_score(form), expected)
        np.testing.assert_allclose(model.anomaly_score(plain / 255), expected, rtol=1e-4)
        np.testing.assert_allclose(
            pca().fit((plain / 255).astype(np.float32)).anomaly_score(plain), expected, rtol=1e-4
        )
        assert model.reconstruct(plain).shape == plain.shape, "in the layout that came"
        assert model.reconstruct(first).shape == model.reconstruct(Images(first)).shape == first.shape
        assert model.residual_maps(plain).shape == (len(plain), SIDE, SIDE)


@pytest.mark.parametrize("scaling", ["unit", "symmetric", "standard"])
@pytest.mark.parametrize("flat", [True, False])
def test_scalings_of_pixels(scaling: str, flat: bool) -> None:
    pixels = np.stack([TRAIN, 255 - TRAIN // 3, np.full_like(TRAIN, 51)], axis=1)
    made = ImagePreprocessor.fit(pixels, ImageSchema.of(pixels), scaling, flat=flat)
    x = pixels / 255
    center, scale = x.mean((0, 2, 3)), x.std((0, 2, 3))
    scale[2] = 1.0  # a constant channel is only centered
    expected = {
        "unit": x,
        "symmetric": 2 * x - 1,
        "standard": (x - center[:, None, None]) / scale[:, None, None],
    }[scaling]
    found = made(torch.from_numpy(pixels))
    assert found.dtype == torch.float32
    assert found.shape == (120, *made.shape) == ((120, 768) if flat else (120, 3, SIDE, SIDE))
    np.testing.assert_allclose(found.reshape(x.shape), expected, atol=2e-6)
    np.testing.assert_allclose(made(torch.from_numpy(x.astype(np.float32))), found, atol=1e-6)
    np.testing.assert_allclose(made.restore(found), x, atol=1e-6)
    assert made.restore(found * 50 - 1).min() >= 0
    assert made.restore(found * 50 + 1).max() <= 1


@pytest.mark.parametrize("scaling", ["symmetric", "standard"])
def test_a_scaling_is_used_and_saved(scaling: str, tmp_path: Path) -> None:
    model = pca(pixel_scaling=scaling).fit(TRAIN)
    factor = {"symmetric": 4.0, "standard": 1 / (TRAIN / 255).var()}[scaling]
    np.testing.assert_allclose(model.anomaly_score(QUERY), factor * pca().fit(TRAIN).anomaly_score(QUERY), rtol=1e-3)
    np.testing.assert_allclose(model.reconstruct(QUERY), pca().fit(TRAIN).reconstruct(QUERY), atol=1e-4)
    offnormal.save(model, tmp_path / "model")
    assert np.array_equal(offnormal.load(tmp_path / "model").anomaly_score(QUERY), model.anomaly_score(QUERY))


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_convolutional_network_learns_and_its_map_finds_the_square() -> None:
    rows = stripes(400, 2)
    odd = stripes(70, 3, odd=True)

    def model(epochs: int) -> Detector:
        made = Autoencoder(epochs=epochs, hidden_sizes=(8, 16), batch_size=32, latent_dim=4, calibration="none")
        return made.set_params(learning_rate=3e-3).fit(rows)

    trained, untrained = model(25), model(0)
    truth = np.r_[np.zeros(70), np.ones(70)]
    both = np.concatenate([QUERY, odd])
    assert auroc(truth, trained.anomaly_score(both)) > 0.95
    assert auroc(truth, untrained.anomaly_score(both)) < 0.8
    square = np.zeros((SIDE, SIDE), bool)
    square[6:11, 6:11] = True

    def contrast(made: Detector) -> float:
        maps = made.residual_maps(odd)
        return float(maps[:, square].mean() / maps[:, ~square].mean())

    assert contrast(trained) > 4
    assert contrast(untrained) < 2
    np.testing.assert_allclose(trained.residual_maps(odd).sum((1, 2)), trained.anomaly_score(odd), rtol=1e-4)
    assert any(epoch["held_out"] for epoch in trained.training_["history"]), "images are held out for early stopping"


def test_training_keeps_bytes_and_makes_floats_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, train = [], detector.train

    def noted(method: Any, rows: Tensor, settings: Any, **options: Any) -> Any:
        kept.append((rows.dtype, options["prepare"] is None))
        return train(method, rows, settings, **options)

    monkeypatch.setattr(detector, "train", noted)
    pca().fit(TRAIN)
    pca().fit(TRAIN / 255)
    pca().fit(TRAIN.reshape(len(TRAIN), -1) / 255)
    assert kept == [(torch.uint8, False), (torch.float32, False), (torch.float32, True)]


def test_batches_prepare_what_they_serve() -> None:
    stored = torch.arange(50, dtype=torch.uint8).reshape(50, 1)
    seen: list[int] = []

    def prepare(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows.float() / 2

    batches = Batches(stored, 16, seed=3, prepare=prepare)
    for made in (batches, batches.reordered(None), batches.reordered(4)):
        served = list(made)
        assert torch.equal(torch.cat([b.x for b in served]), stored[torch.cat([b.indices for b in served])].float() / 2)
    assert max(seen) < 50
    assert torch.equal(batches.rows, stored.float() / 2)
    plain = Batches(stored.float(), 16, seed=3)
    assert [b.indices.tolist() for b in plain] == [b.indices.tolist() for b in batches]
    assert not torch.equal(next(iter(batches.reordered(4))).indices, next(iter(batches)).indices)


def test_calibration_from_a_thousand_images_on_is_held_out() -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (1_000, 3, 3)).astype(np.uint8)
    assert pca(calibration="auto").fit(tiny).calibration_.kind == "holdout"
    assert pca(calibration="auto").fit(tiny).calibration_.n == 100
    assert pca(calibration="auto").fit(tiny[:999]).calibration_.kind == "folds"
    assert pca(calibration="auto").fit(tiny.reshape(1_000, 9)).calibration_.kind == "folds", "tables as ever"


def test_a_batch_holds_fewer_of_large_images() -> None:
    model = Autoencoder()
    for shape, expected in (((1, 28, 28), 128), ((1, 256, 256), 64), ((3, 256, 256), 16), ((3, 3000, 3000), 2)):
        model.schema_, model.n_features_in_ = ImageSchema(shape), int(np.prod(shape))
        assert model._plan(10_000)[1] == expected
        assert dataclasses.replace(model, batch_size=7)._plan(10_000)[1] == 7


def test_a_resumed_fit_is_the_uninterrupted_one(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.stage == "fold 1 of 5":
            raise StopError

    def model() -> Autoencoder:
        return Autoencoder(epochs=3, hidden_sizes=(4,), calibration="folds", batch_size=32)

    with pytest.raises(StopError):
        model().fit(TRAIN, checkpoint=tmp_path, on_progress=stop)
    with pytest.raises(ModelFileError, match="other data"):
        model().fit(TRAIN.transpose(0, 2, 1), checkpoint=tmp_path, resume=True)
    resumed, whole = model().fit(TRAIN, checkpoint=tmp_path, resume=True), model().fit(TRAIN)
    assert np.array_equal(resumed.anomaly_score(QUERY), whole.anomaly_score(QUERY))
    assert np.array_equal(resumed.calibration_.scores, whole.calibration_.scores)


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_blocks_are_smaller_for_larger_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {(5,): BLOCK, (100_000,): BLOCK, (1, 4, 4): BLOCK, (1, 28, 28): 128, (3, 32, 32): 32, (3, 256, 256): 1}
    assert {shape: block_size(shape) for shape in sizes} == sizes
    model = pca().fit(TRAIN)
    expected = model.anomaly_score(QUERY)
    monkeypatch.setattr("offnormal.scorer.VALUES_PER_BLOCK", 16 * SIDE**2)
    shapes = []
    model.scorer_.preprocess.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    np.testing.assert_allclose(model.anomaly_score(QUERY), expected, rtol=1e-5)
    assert set(shapes) == {(16, 1, SIDE, SIDE)}
    assert len(shapes) == 5


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_not_like_the_training_images_is_said() -> None:
    model = pca().fit(TRAIN)
    larger = Images(stripes(4, 5).repeat(2, axis=1).repeat(2, axis=2)[:, None])
    smaller = resized(larger.pixels, (SIDE, SIDE))
    assert np.array_equal(model.anomaly_score(larger), model.anomaly_score(smaller)), "`Images` are resized"
    for X, words in (
        (larger.pixels, "got an array of images of 1 channel, 32×32"),
        (np.zeros((4, 3, SIDE, SIDE), np.uint8), "got an array of images of 3 channels|color='grey'"),
        (TRAIN[0], "got a table"),
        (TRAIN.reshape(len(TRAIN), -1), "got a table"),
    ):
        for method in (model.anomaly_score, model.predict, model.residual_maps, model.reconstruct, model.transform):
            with pytest.raises(SchemaMismatch, match=words):
                method(X)
    with pytest.raises(SchemaMismatch, match="fitted to a table of 3 columns; got images"):
        pca(n_components=1).fit(np.random.default_rng(0).normal(size=(20, 3))).anomaly_score(TRAIN)
    with pytest.raises(DataError, match="id_columns names columns, and images have no columns"):
        pca(id_columns=("a",)).fit(TRAIN)
    with pytest.raises(DataError, match="At least 2 images"):
        pca().fit(TRAIN[:1])
    with pytest.raises(DataError, match=r"image 0 .* holds 255"):
        pca().fit(np.full((9, 4, 4), 255.0))


def test_a_path_leads_to_the_reader_of_images(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "x.png", "x.npz"):
        with pytest.raises(DataError, match=r"got the path .*offnormal\.read_images\(.*\) returns its images"):
            pca().fit(path)


def test_capabilities_that_are_not_there_are_said() -> None:
    model = pca().fit(TRAIN)
    with pytest.raises(NotSupported, match=r"no columns to name.*residual_maps"):
        model.explain(TRAIN)
    distance = DeepSVDD(epochs=0, calibration="none").fit(TRAIN)
    for method in (distance.residual_maps, distance.reconstruct):
        with pytest.raises(NotSupported, match="DeepSVDD rebuilds no image"):
            method(TRAIN)
    table = pca(n_components=1).fit(np.random.default_rng(0).normal(size=(20, 3)))
    for method in (table.residual_maps, table.reconstruct):
        with pytest.raises(NotSupported, match="is for images, and this PCAReconstruction was fitted to a table"):
            method(TRAIN)


def test_the_next_fit_forgets_the_last() -> None:
    import pandas as pd

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), columns=list("abcd"))
    model = pca().fit(frame).fit(TRAIN)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == SIDE**2
    assert model.fit(frame).explain(frame[:1]).columns == tuple("abcd")


# --- altered model files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["autoencoder", "pca"])
@pytest.mark.parametrize(
    "schema",
    [
        {"image_shape": [1, SIDE, 2 * SIDE]}, {"image_shape": [3, SIDE, SIDE]}, {"image_shape": [1, 1, 1]},
        {"image_shape": [1, 2**26, 1]}, {"image_shape": [1, 2**40, 2**40]}, {"image_shape": None}, {},
        {"image_shape": [1, SIDE, SIDE], "named": True},
        {"columns": [{"name": "x0", "kind": "numeric"}], "ids": [], "ignored": [], "named": False},
    ],
    ids=range(9),
)  # fmt: skip
def test_another_shape_in_the_file_is_refused(key: str, schema: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model"
    offnormal.save(fitted(key), path)
    content = Content.of(path.read_bytes())
    content.manifest["schema"] = schema
    path.write_bytes(content.packed())
    with pytest.raises(ModelFileError) as caught:
        offnormal.load(path)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("change", [{"flat": True}, [], {"missing": []}])
def test_another_plan_in_the_file_is_refused(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    offnormal.save(fitted("pca"), path)
    content = Content.of(path.read_bytes())
    content.manifest["preprocess"] = change
    path.write_bytes(content.packed())
    with pytest.raises(ModelFileError):
        offnormal.load(path)


@pytest.mark.parametrize("key", ["autoencoder", "pca"])
def test_altered_files_give_the_same_scores_or_one_error(key: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "model", tmp_path / "altered"
    folder.mkdir()
    model = quick(key, 2, calibration="none", pixel_scaling="standard").fit(TRAIN[:40])
    offnormal.save(model, path)
    expected, outcomes = model.anomaly_score(QUERY[:3]), {"same": 0, "refused": 0}
    for altered in mutations(path, folder, 60, seed=5):
        try:
            loaded = offnormal.load(altered)
        except ModelFileError as error:
            outcomes["refused"] += len(str(error)) < 800
            continue
        outcomes["same"] += np.array_equal(loaded.anomaly_score(QUERY[:3]), expected)
    assert sum(outcomes.values()) == 60, outcomes
    assert outcomes["refused"] > 40
