"""Every method on clips: arrays of five axes, scores that obey the same laws, maps of every frame, and motion seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import offnormal
from offnormal import Autoencoder, Images, io
from offnormal.cli import application
from offnormal.data.images import read_images
from offnormal.data.pixel_arrays import ImageSchema, as_pixels
from offnormal.data.pixels import ImagePreprocessor
from offnormal.errors import DataError, InvalidParameter, ModelFileError, NotSupported, SchemaMismatch
from offnormal.metrics.ranking import auroc
from offnormal.networks.backbones import Plan
from offnormal.networks.similarity import structural_similarity
from offnormal.registry import METHODS, method_class
from offnormal.report import render
from pixel_laws import check_laws, fitted_once, pca, quick, shapes_built

FRAMES, SIDE = 5, 12  # five are no channels, so that both layouts can be told apart
SHAPE = (1, FRAMES, SIDE, SIDE)


def moving_bars(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Return grey clips of an upright bar that moves right by a pixel a frame and comes back at the left."""
    draw = np.random.default_rng(seed)
    start, light = draw.integers(0, SIDE, (rows, 1, 1)), draw.uniform(0.6, 1, (rows, 1, 1))
    behind = (start + np.arange(FRAMES)[:, None] - np.arange(SIDE)) % SIDE  # (rows, t, w): pixels left of its front
    lines = 255 * np.where(behind < 3, light, 0.1)
    clips = lines[:, None, :, None, :] + draw.normal(0, 4, (rows, *SHAPE))
    return clips.clip(0, 255).astype(np.uint8)


TRAIN, QUERY = moving_bars(60, 0), moving_bars(30, 1)
fitted = fitted_once(TRAIN, 1)


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", METHODS)
def test_the_laws_of_a_score(key: str) -> None:
    check_laws(fitted(key), QUERY)


@pytest.mark.parametrize("key", METHODS)
def test_a_model_file_gives_the_same_scores(key: str, tmp_path: Path) -> None:
    model, path = fitted(key), tmp_path / "model.offnormal"
    offnormal.save(model, path)
    loaded = offnormal.load(path)
    assert loaded.schema_ == model.schema_
    assert np.array_equal(loaded.anomaly_score(QUERY), model.anomaly_score(QUERY))
    assert io.info(path)["schema"] == {"clip_shape": list(SHAPE)}


@pytest.mark.parametrize("key", METHODS)
def test_a_method_gets_the_shape_it_can_see_and_gives_clips_back(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = shapes_built(key, monkeypatch)
    last = np.ascontiguousarray(np.moveaxis(TRAIN[:30], 1, -1))
    model = quick(key, 1, calibration="none").fit(last)
    sees_images = method_class(key).sees_images
    assert shapes == [SHAPE if sees_images else (np.prod(SHAPE),)]
    volumes = [layer for layer in model.scorer_.modules() if isinstance(layer, nn.Conv3d)]
    assert bool(volumes) == (method_class(key).sees_images and key != "rapp"), (
        "RaPP's networks are dense, as the paper's"
    )
    with pytest.raises(NotSupported, match=r"fitted to clips, which have no columns to name.*residual_maps"):
        model.explain(last)
    if key in ("deep_svdd", "kernel_pca", "mo_gaal", "so_gaal"):
        with pytest.raises(NotSupported, match="rebuilds no image"):
            model.residual_maps(last)
        return
    maps = model.residual_maps(last)
    assert maps.shape == (30, FRAMES, SIDE, SIDE)
    assert maps.min() >= 0
    rebuilt = model.reconstruct(last)
    assert rebuilt.shape == last.shape, "in the layout that came"
    np.testing.assert_array_equal(np.moveaxis(rebuilt, -1, 1), model.reconstruct(TRAIN[:30]))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_flattened_clip_is_a_row_of_a_table() -> None:
    """Splits, calibration, scores and maps are those of the table of the same numbers."""
    table = lambda clips: clips.reshape(len(clips), -1) / 255  # noqa: E731
    on_clips = pca(calibration="holdout").fit(TRAIN)
    on_table = pca(calibration="holdout", scaling="none").fit(table(TRAIN))
    np.testing.assert_allclose(on_clips.anomaly_score(QUERY), on_table.anomaly_score(table(QUERY)), rtol=1e-4)
    np.testing.assert_allclose(on_clips.threshold_.value, on_table.threshold_.value, rtol=1e-4)
    assert np.array_equal(on_clips.p_value(QUERY), on_table.p_value(table(QUERY)))
    maps = on_clips.residual_maps(QUERY)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), on_clips.anomaly_score(QUERY), rtol=1e-4)


def test_one_clip_in_any_clothing_has_one_score() -> None:
    """Grey and colored; channels on either side; bytes, floats and tensors."""
    for first in (TRAIN, np.concatenate([TRAIN, TRAIN[::-1], 255 - TRAIN], axis=1)):
        last = np.ascontiguousarray(np.moveaxis(first, 1, -1))
        model = pca().fit(first)
        expected = model.anomaly_score(first)
        assert not np.allclose(expected, expected[::-1])
        for form in (first, last, torch.from_numpy(first), torch.from_numpy(last)):
            assert np.array_equal(pca().fit(form).anomaly_score(form), expected)
        np.testing.assert_allclose(model.anomaly_score(last / 255), expected, rtol=1e-4)
        assert model.residual_maps(last).shape == (60, FRAMES, SIDE, SIDE)
    both = np.zeros((5, 4, 8, 9, 3), np.uint8)
    assert as_pixels(both).shape == (5, 4, 8, 9, 3), "channels first where both fit"
    assert as_pixels(both, (3, 4, 8, 9)).shape == (5, 3, 4, 8, 9), "but for what training saw"


@pytest.mark.parametrize("flat", [True, False])
def test_the_standard_scaling_is_by_channel_over_all_frames(flat: bool) -> None:
    pixels = np.concatenate([TRAIN, 255 - TRAIN // 3], axis=1)[:, [0, 1, 0]]
    made = ImagePreprocessor.fit(pixels, ImageSchema.of(pixels), "standard", flat=flat)
    x = pixels / 255
    expected = (x - x.mean((0, 2, 3, 4), keepdims=True)) / x.std((0, 2, 3, 4), keepdims=True)
    found = made(torch.from_numpy(pixels))
    assert found.shape == (60, *made.shape) == ((60, 3 * 720) if flat else (60, 3, FRAMES, SIDE, SIDE))
    np.testing.assert_allclose(found.reshape(x.shape), expected, atol=2e-6)
    np.testing.assert_allclose(made.restore(found), x, atol=1e-6)


def test_structural_similarity_is_frame_by_frame() -> None:
    model = Autoencoder(difference="ssim", ssim_window=5, epochs=1, calibration="none").fit(TRAIN)
    x = torch.from_numpy(QUERY / 255)
    with torch.inference_mode():
        rebuilt = model.scorer_.method.reconstruct(x.float()).double()
    frames = [1 - structural_similarity(x[:, :, t], rebuilt[:, :, t], window=5) for t in range(FRAMES)]
    expected = torch.stack(frames, dim=1).numpy()
    np.testing.assert_allclose(model.residual_maps(QUERY), expected, atol=1e-4)
    np.testing.assert_allclose(model.anomaly_score(QUERY), expected.sum((1, 2, 3)), rtol=1e-4)


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_convolutional_network_learns_motion() -> None:
    """The anomalies are normal clips played backward: frame by frame there is nothing to see."""
    backward = np.ascontiguousarray(QUERY[:, :, ::-1])
    truth, both = np.r_[np.zeros(len(QUERY)), np.ones(len(QUERY))], np.concatenate([QUERY, backward])

    def found(epochs: int) -> float:
        model = Autoencoder(epochs=epochs, hidden_sizes=(8, 16), batch_size=16, latent_dim=6, calibration="none")
        model.set_params(learning_rate=1e-2).fit(moving_bars(200, 2))
        return float(auroc(truth, model.anomaly_score(both)))

    assert found(8) > 0.95
    assert found(0) < 0.8


def test_a_resumed_fit_is_the_uninterrupted_one(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.stage == "fold 1 of 5":
            raise StopError

    def model() -> Autoencoder:
        return Autoencoder(epochs=2, hidden_sizes=(4,), calibration="folds", batch_size=32)

    with pytest.raises(StopError):
        model().fit(TRAIN, checkpoint=tmp_path, on_progress=stop)
    with pytest.raises(ModelFileError, match="other data"):
        model().fit(np.ascontiguousarray(TRAIN[:, :, ::-1]), checkpoint=tmp_path, resume=True)
    resumed, whole = model().fit(TRAIN, checkpoint=tmp_path, resume=True), model().fit(TRAIN)
    assert np.array_equal(resumed.anomaly_score(QUERY), whole.anomaly_score(QUERY))
    assert np.array_equal(resumed.calibration_.scores, whole.calibration_.scores)


@pytest.mark.parametrize(
    ("shape", "convolutions"), [((1, 16, 28, 28), 3), ((1, 4, 28, 28), 2), ((3, 2, 64, 64), 1), ((1, 16, 8, 8), 2)]
)
def test_the_usual_network_fits_short_clips(shape: tuple[int, ...], convolutions: int) -> None:
    encoder, decoder = Plan(shape).backbone(5)
    assert sum(isinstance(layer, nn.Conv3d) for layer in encoder) == convolutions
    x = torch.rand(2, *shape)
    assert decoder(encoder(x)).shape == x.shape
    with pytest.raises(InvalidParameter, match=r"Clips of 1×12×12 are too small .* network='dense'"):
        Autoencoder(epochs=0).fit(TRAIN[:, :, :1])


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_not_like_the_training_clips_is_said() -> None:
    model = pca().fit(TRAIN)
    for X, words in (
        (TRAIN[:, 0], "clips of 1 channel, 5 frames, 12×12 .*got images. Pass clips, five axes"),
        (Images(TRAIN[:, :, 0]), "got images. Pass clips"),
        (TRAIN.reshape(60, -1), "got a table. Pass clips"),
        (TRAIN[:, :, :3], "got an array of clips of 1 channel, 3 frames, 12×12 .*Cut or resize them, or train again"),
        (TRAIN[..., :9], "got an array of clips of 1 channel, 5 frames, 12×9"),
        (TRAIN.repeat(3, axis=1), "got clips of 3 channels, 5 frames, 12×12 .*Turn them into grey, or train again"),
    ):
        for method in (model.anomaly_score, model.predict, model.residual_maps, model.reconstruct, model.transform):
            with pytest.raises(SchemaMismatch, match=words):
                method(X)
    with pytest.raises(SchemaMismatch, match=r"fitted to images of 1 channel, 12×12 .*got clips\. Pass images"):
        pca().fit(TRAIN[:, :, 0]).anomaly_score(TRAIN)
    with pytest.raises(SchemaMismatch, match="fitted to a table of 3 columns; got clips"):
        pca(n_components=1).fit(np.random.default_rng(0).normal(size=(20, 3))).anomaly_score(TRAIN)
    with pytest.raises(DataError, match=r"no set of images or clips.*five for clips \(grey ones: X\[:, None\]\)"):
        pca().fit(np.zeros((5, 8, 12, 12), np.uint8))
    with pytest.raises(DataError, match=r"clip 0 .* holds 255"):
        pca().fit(np.full((9, *SHAPE), 255.0))
    with pytest.raises(DataError, match="id_columns names columns, and clips have no columns"):
        pca(id_columns=("a",)).fit(TRAIN)
    with pytest.raises(DataError, match="At least 2 clips"):
        pca().fit(TRAIN[:1])


def test_the_schema_in_a_model_file() -> None:
    schema = ImageSchema(SHAPE)
    assert ImageSchema.from_json(schema.to_json()) == schema
    for document in (
        {"clip_shape": [1, 12, 12]}, {"image_shape": [1, 4, 12, 12]}, {"clip_shape": [2, 4, 9, 9]},
        {"clip_shape": [1, 0, 9, 9]}, {"clip_shape": [1, 2**20, 64, 64]}, {"clip_shape": [1, 4, 9, 9.0]},
        {"clip_shape": list(SHAPE), "image_shape": [1, 12, 12]}, {"shape": []},
    ):  # fmt: skip
        with pytest.raises(ModelFileError, match="image shape is not one"):
            ImageSchema.from_json(document)


def test_files_the_command_line_and_the_report_say_that_they_take_no_clips(tmp_path: Path) -> None:
    array, model = tmp_path / "clips.npy", tmp_path / "model.offnormal"
    np.save(array, TRAIN)
    np.savez(tmp_path / "clips.npz", clips=TRAIN)
    for file in (array, tmp_path / "clips.npz"):
        with pytest.raises(DataError, match=r"clips\.np.' holds clips.*fit --video"):
            read_images(file)
    offnormal.save(fitted("pca"), model)
    with pytest.raises(NotSupported, match="fitted to clips: `render_video` reports on their recordings"):
        render(fitted("pca"), QUERY, tmp_path / "report.html")

    def run(*words: object) -> Any:
        arguments = [str(word) for word in words]
        return CliRunner().invoke(application(arguments), arguments)

    for words, said in (
        (("fit", array, "-o", tmp_path / "other.offnormal"), "holds clips"),
        (("evaluate", model, array, "--anomaly", "x"), "--frame-labels FILE is needed"),
        (("explain", model, array), "fitted to clips"),
    ):
        result = run(*words)
        assert (result.exit_code, said in " ".join(result.output.split())) == (2, True), (words, result.output)
    assert "1 channel, 5 frames, 12×12" in run("info", model).output
