"""Folders as MVTec AD has them, and lists of paths, from `fit` to `evaluate` without naming a subfolder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import offnormal
from offnormal.errors import NotSupported
from offnormal.methods.pca import PCAReconstruction

SIDE = 16
SPOT = (slice(5, 10), slice(3, 7))
QUICK = ("-m", "pca", "--n-components", 3)
KINDS = {"good": 7, "hole": 3, "scratch": 4}


def stripes(rows: int, seed: int, *, spotted: bool = False) -> np.ndarray[Any, Any]:
    """Return images of twice the model's size; a spot is brighter, by more or less."""
    draw = np.random.default_rng(seed)
    wave = np.sin(0.8 * np.arange(SIDE) + draw.uniform(0, 6, (rows, 1, 1))) * np.ones((1, SIDE, 1))
    images = 110 + 60 * wave + draw.normal(0, 6, (rows, SIDE, SIDE))
    if spotted:
        images[:, *SPOT] += draw.uniform(5, 60, (rows, 1, 1))
    return images.clip(0, 255).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)


def keep(images: np.ndarray[Any, Any], folder: Path, ending: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}{ending}.png")


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def masks(count: int) -> np.ndarray[Any, Any]:
    small = np.zeros((count, SIDE, SIDE), np.uint8)
    small[:, *SPOT] = 255
    return small.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture(scope="module")
def screw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts") / "screw"
    keep(stripes(30, 0), root / "train" / "good")
    for seed, (kind, count) in enumerate(KINDS.items(), 1):
        keep(stripes(count, seed, spotted=kind != "good"), root / "test" / kind)
        if kind != "good":
            keep(masks(count), root / "ground_truth" / kind, "_mask")
    return root


@pytest.fixture(scope="module")
def eyes(run: Callable[..., Any], screw: Path) -> Path:
    target = screw.parent / "eyes.offnormal"
    result = run("fit", screw, "-o", target, *QUICK, "--image-size", SIDE)
    assert result.exit_code == 0, result.output
    assert f"Training on train/good of {screw} (30 images)." in result.stderr
    assert f"offnormal score {target} {screw} -o scores.csv" in result.stdout
    return target


def test_scores_are_of_test(run, eyes, screw, tmp_path):
    result = run("score", eyes, screw, "-o", tmp_path / "s.csv", "--reasons", "none")
    assert result.exit_code == 0, result.output
    assert f"Taking test of {screw} (14 images)." in result.stderr
    rows = table(tmp_path / "s.csv")
    assert [row["image"] for row in rows] == [f"test/{kind}/{i:03d}.png" for kind, n in KINDS.items() for i in range(n)]
    images = offnormal.read_images(screw / "test", size=SIDE)
    assert [float(row["anomaly_score"]) for row in rows] == offnormal.load(eyes).anomaly_score(images).tolist()


def test_evaluation_needs_no_options_and_measures_kinds_and_pixels(run, eyes, screw):
    result = run("evaluate", eyes, screw, "--bootstrap", 0, "--json", "-q")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    detector, images = offnormal.load(eyes), offnormal.read_images(screw / "test", size=SIDE)
    scores, y = detector.anomaly_score(images), np.repeat([0, 1], [7, 7])
    assert (record["rows"], record["anomalies"], record["left_out"]) == (14, 7, 0)
    assert record["auroc"]["value"] == pytest.approx(roc_auc_score(y, scores))
    cut = detector.threshold_.value
    expected = [("good", False, scores[:7]), ("hole", True, scores[7:10]), ("scratch", True, scores[10:])]
    for kind, (name, odd, its) in zip(record["kinds"], expected, strict=True):
        assert (kind["kind"], kind["anomalous"], kind["images"]) == (name, odd, len(its))
        assert kind["flagged"] == (its > cut).sum()
        if odd:
            both = np.concatenate([scores[:7], its])
            assert kind["auroc"] == pytest.approx(roc_auc_score(np.arange(len(both)) >= 7, both))
    marked = np.zeros((14, SIDE, SIDE), bool)
    marked[7:, *SPOT] = True
    maps, pixels = detector.residual_maps(images).ravel(), record["pixels"]
    assert pixels["auroc"] == pytest.approx(roc_auc_score(marked.ravel(), maps), abs=1e-3)
    assert 0.6 < pixels["auroc"] < 0.999
    assert pixels["average_precision"] == pytest.approx(average_precision_score(marked.ravel(), maps), abs=1e-3)
    assert 0.3 < pixels["pro_area"] < 1
    assert (pixels["images"], pixels["regions"], pixels["left_out"], pixels["vanished"]) == (14, 7, [], 0)
    told = run("evaluate", eyes, screw, "--bootstrap", 0).stdout
    assert f"hole: 3 images, AUROC {record['kinds'][1]['auroc']:.4f} against the normal ones, " in told
    assert f"Pixels: AUROC {pixels['auroc']:.4f}, average precision {pixels['average_precision']:.4f}, PRO" in told
    assert "masks brought to 16×16, nearest pixel" in told
    below = json.loads(run("evaluate", eyes, screw / "test", "--bootstrap", 0, "--json", "-q").stdout)
    assert below["pixels"] == pixels, "the masks beside a folder named test"
    chosen = ("--normal", "test/good", "--anomaly", "test/hole")
    named = json.loads(run("evaluate", eyes, screw, *chosen, "--bootstrap", 0, "--json", "-q").stdout)
    assert (named["rows"], named["anomalies"], named["left_out"]) == (10, 3, 34)
    assert named["pixels"]["images"] == 10


def test_masks_that_do_not_fit_are_left_out_and_said(run, eyes, screw, tmp_path, monkeypatch):
    data = tmp_path / "screw"
    for name in ("train/good", "test/good", "test/hole"):
        keep(stripes(3, 7, spotted="hole" in name), data / name)
    keep(masks(2), data / "ground_truth" / "hole", "_mask")
    Image.new("L", (5, 4), 255).save(data / "ground_truth" / "hole" / "001_mask.png")
    result = run("evaluate", eyes, data, "--bootstrap", 0)
    assert result.exit_code == 0, result.output
    assert "Pixels of 2 anomalous images left out. The first, test/hole/001.png: The mask" in result.stdout
    assert "has 4×5 pixels and its image 32×32" in result.stdout
    Image.new("L", (32, 32), 0).save(data / "ground_truth" / "hole" / "001_mask.png")
    black = run("evaluate", eyes, data, "--bootstrap", 0)
    assert "marks no pixel, and the image is called anomalous." in black.stdout
    (data / "ground_truth" / "hole" / "000_mask.png").write_bytes(b"")
    useless = run("evaluate", eyes, data, "--bootstrap", 0, "--json")
    assert json.loads(useless.stdout)["pixels"] is None
    assert "The masks cannot be used: The image '" in useless.stderr

    def refuse(*_: object) -> None:
        raise NotSupported("This method does not say which pixels made its score.")

    monkeypatch.setattr(PCAReconstruction, "residual_maps", refuse)
    without = run("evaluate", eyes, data, "--bootstrap", 0)
    assert without.exit_code == 0, without.output
    assert "The masks are not used" in without.stderr


def test_a_folder_of_kinds_trains_on_good_and_warns_of_itself(run, screw, tmp_path):
    data, model = tmp_path / "parts", tmp_path / "m.offnormal"
    keep(stripes(20, 3), data / "good")
    keep(stripes(4, 4, spotted=True), data / "bad")
    keep(masks(4), data / "masks")
    fitted = run("fit", data, "-o", model, *QUICK, "--json")
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["trained_on"] == "good"
    assert f"Training on good of {data} (20 images)." in fitted.stderr
    measured = run("evaluate", model, data, "--bootstrap", 0, "--json")
    record = json.loads(measured.stdout)
    assert (record["rows"], record["pixels"]["regions"], record["pixels"]["resized"]) == (24, 4, None)
    assert "The model was trained on 20 images, as many as are normal here" in measured.stderr
    (data / "good" / "broken.png").write_bytes(b"no image")
    again = run("evaluate", model, data, "--bootstrap", 0, "--json")
    assert "The model was trained on 20 images, as many as are normal here" in again.stderr, "a broken file is no image"
    (data / "good" / "broken.png").unlink()
    whole = run("fit", data, "-o", model, *QUICK, "--only", "bad", "--calibration", "none", "--json", "-q")
    assert json.loads(whole.stdout)["rows"] == 4


def test_a_list_of_paths_is_taken_for_images_only_when_that_is_said(run, eyes, screw, tmp_path):
    images = [
        *((f"train/good/{i:03d}.png", "good", "", "train") for i in range(30)),
        *((f"test/good/{i:03d}.png", "good", "", "test") for i in range(7)),
        *((f"test/hole/{i:03d}.png", "hole", f"ground_truth/hole/{i:03d}_mask.png", "test") for i in range(3)),
        ("test/gone.png", "hole", "", "test"),
        ("", "hole", "", "test"),
    ]
    file = screw / "parts.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("weight", "path", "label", "mask", "split"), *((7, *row) for row in images)])
    model, target = tmp_path / "m.offnormal", tmp_path / "s.csv"
    arguments = ("fit", file, "-o", model, *QUICK)
    assert "To train on the images: --image-column path" in run(*arguments).stderr
    fitted = run(*arguments, "--image-column", "path", "--image-size", SIDE, "--json")
    assert fitted.exit_code == 0, fitted.output
    assert (json.loads(fitted.stdout)["rows"], json.loads(fitted.stdout)["trained_on"]) == (30, "split train")
    scored = run("score", model, file, "-o", target, "--maps", tmp_path / "maps")
    assert scored.exit_code == 0, scored.output
    assert "2 of 12 images cannot be used" in scored.stderr
    rows = table(target)
    lacking = "(row 41 of the list, counted from 0, has no path)"
    assert [row["image"] for row in rows] == [*(row[0] for row in images[30:-1]), lacking]
    folder = offnormal.load(eyes).anomaly_score(offnormal.read_images(screw / "test", size=SIDE))
    assert [float(row["anomaly_score"]) for row in rows[:-2]] == pytest.approx(folder[:10].tolist())
    record = json.loads(run("evaluate", model, file, "--bootstrap", 0, "--json", "-q").stdout)
    assert (record["rows"], record["anomalies"], record["pixels"]["regions"]) == (10, 3, 3)
    assert [one["image"] for one in record["unusable"]] == ["test/gone.png", lacking]
    named = run("evaluate", model, file, "--anomaly", "hole", "--normal", "good", "--json", "-q", "--bootstrap", 0)
    assert json.loads(named.stdout)["rows"] == 40
    for words, said in (
        (("fit", file, "-o", model, "--image-column", "pth"), "Did you mean 'path'"),
        (("fit", screw, "-o", model, "--image-column", "path"), "is for a list of images"),
        (("score", model, file, "-o", target, "--image-column", "weight"), "None of the 12 images can be used"),
        (("evaluate", model, file, "--anomaly", "hol"), "Did you mean 'hole'"),
    ):
        refused = run(*words, "-q")
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_maps_of_a_list_stay_in_their_folder(run, eyes, screw, tmp_path):
    (tmp_path / "lists").mkdir()
    outside = [str(screw / "test" / "hole" / "000.png"), "../elsewhere/000.png"]
    keep(stripes(1, 9, spotted=True), tmp_path / "elsewhere")
    file, target = tmp_path / "lists" / "parts.csv", tmp_path / "maps"
    file.write_text("path\n" + "\n".join(outside) + "\n")
    cut = tmp_path / "low.offnormal"
    assert run("threshold", eyes, "fixed:0", "-o", cut, "-q").exit_code == 0
    result = run("score", cut, file, "-o", tmp_path / "s.csv", "--maps", target, "-q")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in target.rglob("*")) == ["000000_000.png", "000001_000.png"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["000.png"]
