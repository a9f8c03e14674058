"""A folder of images from `fit` to `report`, on small pictures of waves; a scratch is a square of them turned over."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import offnormal
from offnormal.cli.progress import TrainingProgress
from offnormal.errors import NotSupported
from offnormal.methods.pca import PCAReconstruction

SIDE, TOP, LEFT, EXTENT = 16, 9, 4, 5
GOOD, SCRATCHED = 8, 4
QUICK = ("-m", "pca", "--n-components", 3)


def waves(rows: int, seed: int, *, odd: bool = False) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(seed)
    wave = np.sin(0.8 * np.arange(SIDE) + draw.uniform(0, 6, (rows, 1, 1))) * np.ones((1, SIDE, 1))
    images = (127 + 100 * wave + draw.normal(0, 4, (rows, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    if odd:
        there = (slice(None), slice(TOP, TOP + EXTENT), slice(LEFT, LEFT + EXTENT))
        images[there] = 255 - images[there]
    return images


def keep(images: np.ndarray[Any, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images, laid out as MVTec's: train/good, test/good, test/scratch."""
    root = tmp_path_factory.mktemp("images")
    keep(waves(40 - GOOD - SCRATCHED, 0), root / "train" / "good")
    keep(waves(GOOD, 1), root / "test" / "good")
    keep(waves(SCRATCHED, 2, odd=True), root / "test" / "scratch")
    return root


@pytest.fixture(scope="module")
def eyes(run: Callable[..., Any], line: Path) -> Path:
    """A model of the good training images."""
    target = line.parent / "eyes.offnormal"
    result = run("fit", line, "--only", "train/good", "-o", target, *QUICK)
    assert result.exit_code == 0, result.output
    for said in ("28, by subfolder: train (28)", "grey, 16×16 pixels", "pca", f"offnormal score {target} NEW_IMAGES"):
        assert said in result.stdout
    return target


@pytest.fixture(scope="module")
def loaded(eyes: Path) -> Any:
    return offnormal.load(eyes)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- the way from folder to page --------------------------------------------------------------------------------------


def test_scores_go_by_path_and_reasons_say_where(run, eyes, line, loaded, tmp_path):
    target, maps = tmp_path / "scores.csv", tmp_path / "maps"
    result = run("score", eyes, line / "test", "-o", target, "--reasons", "all", "--top", 1, "--maps", maps)
    assert result.exit_code == 0, result.output
    rows = table(target.read_text())
    assert list(rows[0]) == ["image", "row", "anomaly_score", "p_value", "is_anomaly", "reasons"]
    names = [f"good/{i:03d}.png" for i in range(GOOD)] + [f"scratch/{i:03d}.png" for i in range(SCRATCHED)]
    assert [row["image"] for row in rows] == names
    images = offnormal.read_images(line / "test")
    assert [float(row["anomaly_score"]) for row in rows] == loaded.anomaly_score(images).tolist()
    flagged = [row["image"] for row in rows if row["is_anomaly"] == "true"]
    assert set(names[GOOD:]) <= set(flagged)
    assert f"{len(flagged)} of 12 images flagged" in result.stdout
    for row in rows[GOOD:]:
        top, bottom, left, right, share = map(int, re.findall(r"\d+", row["reasons"]))
        assert max(abs(top - TOP), abs(bottom - TOP - EXTENT + 1)) <= 1, row["reasons"]
        assert max(abs(left - LEFT), abs(right - LEFT - EXTENT + 1)) <= 1, row["reasons"]
        assert 60 < share <= 100
    assert all(row["reasons"] for row in rows)
    check_maps(maps, flagged, loaded.residual_maps(images[[names.index(name) for name in flagged]]), result.stdout)


def check_maps(folder: Path, flagged: list[str], expected: Any, said: str) -> None:
    """Hold the written maps against the detector's, by the scale that each file states."""
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert written == flagged
    assert f"white {expected.max():.4g}" in said
    for name, residuals in zip(flagged, expected, strict=True):
        with Image.open(folder / name) as image:
            assert image.mode.startswith("I;16")
            scale = re.fullmatch(r"Residual map; 0 is 0, 65535 is (\S+)\.", image.text["Description"])
            assert scale is not None
            found = np.asarray(image).astype(np.float64) / 65_535 * float(scale[1])
        assert np.allclose(found, residuals, atol=float(scale[1]) / 65_535)


def test_masks_mark_the_pixels_beyond_the_cut(run, line, tmp_path):
    model, maps, masks = tmp_path / "m.offnormal", tmp_path / "maps", tmp_path / "masks"
    made = run("fit", line / "train", "-o", model, "--method", "pca", "--map-score", "max", "-q")
    assert made.exit_code == 0, made.output
    detector, images = offnormal.load(model), offnormal.read_images(line / "test")
    flagged = detector.predict(images) == -1
    words = ("score", model, line / "test", "-o", tmp_path / "s.csv")
    result = run(*words, "--maps", maps, "--masks", masks, "--maps-of", "all")
    assert result.exit_code == 0, result.output
    assert f"Masks of the pixels beyond the cut of 12 images are in {masks}." in " ".join(result.stdout.split())
    for name, expected, odd in zip(images.names, detector.defect_masks(images), flagged, strict=True):
        with Image.open(masks / name) as image:
            found = np.asarray(image)
        assert set(np.unique(found)) <= {0, 255}
        assert np.array_equal(found == 255, expected)
        assert found.any() == odd
    assert len(list(maps.rglob("*.png"))) == len(images.names)
    answer = json.loads(run(*words, "--masks", tmp_path / "some", "--json", "-q").stdout)["masks"]
    assert answer == {"folder": str(tmp_path / "some"), "images": int(flagged.sum())}


def test_maps_of_all_pass_over_what_cannot_be_read(run, eyes, line, tmp_path):
    shutil.copytree(line / "test", tmp_path / "test")
    (tmp_path / "test" / "good" / "000.png").write_bytes(b"no image")
    words = (
        "score",
        eyes,
        tmp_path / "test",
        "-o",
        tmp_path / "s.csv",
        "--maps",
        tmp_path / "maps",
        "--maps-of",
        "all",
    )
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 11
    assert len(table((tmp_path / "s.csv").read_text())) == 12


def test_without_a_flagged_image_no_folder_is_left(run, eyes, line, tmp_path):
    run("threshold", eyes, "fixed:1e9", "-o", tmp_path / "far.offnormal")
    maps = tmp_path / "maps"
    result = run("score", tmp_path / "far.offnormal", line / "test", "-o", tmp_path / "s.csv", "--maps", maps)
    assert result.exit_code == 0, result.output
    assert "Residual maps: none, since no image is flagged; --maps-of all writes" in " ".join(result.stdout.split())
    assert not maps.exists()


def test_the_report_shows_the_scratch_and_agrees_with_the_subfolders(run, eyes, line, tmp_path):
    target = tmp_path / "report.html"
    result = run("report", eyes, line / "test", "-o", target, "--anomaly", "scratch", "--top", 5, "--lang", "ko")
    assert result.exit_code == 0, result.output
    assert "The report on 12 images" in result.stdout
    page = target.read_text()
    assert page.count("<img ") == 1 + 3 * 5
    assert page.count("scratch/000.png") >= 4
    assert "AUROC" in page


def test_evaluation_takes_subfolders_for_labels(run, eyes, line, loaded):
    def measured(*arguments: object) -> Any:
        result = run("evaluate", eyes, *arguments, "--bootstrap", 0, "--json", "-q")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    record = measured(line / "test", "--anomaly", "scratch")
    y = np.repeat([0, 1], [GOOD, SCRATCHED])
    scores = loaded.anomaly_score(offnormal.read_images(line / "test"))
    assert record["auroc"]["value"] == pytest.approx(roc_auc_score(y, scores))
    assert (record["rows"], record["anomalies"], record["left_out"]) == (12, 4, 0)
    assert measured(line / "test", "--normal", "good")["auroc"] == record["auroc"]
    whole = measured(line, "--normal", "test/good", "--anomaly", "test/scratch/")
    assert (whole["rows"], whole["anomalies"], whole["left_out"]) == (12, 4, 28)
    assert whole["auroc"] == record["auroc"]


def test_explain_and_info_speak_of_images(run, eyes, line):
    arguments = ("explain", eyes, line / "test", "--row", 9, "--top", 1)
    (row,) = json.loads(run(*arguments, "--json", "-q").stdout)["rows"]
    assert row["ids"] == {"image": "scratch/001.png"}
    (place,) = row["places"]
    assert abs(place["top"] - TOP) <= 1
    assert place["share"] > 0.6
    assert json.loads(run(*arguments[:3], "--row", "scratch/001.png", "--top", 1, "--json", "-q").stdout)["rows"] == [
        row
    ]
    lost = run(*arguments[:3], "--row", "scratch/01.png", "-q")
    assert lost.exit_code == 2
    assert "There is no image 'scratch/01.png'. Did you mean 'scratch/001.png'" in lost.stderr
    shown = run(*arguments, "-q").stdout
    assert "Image 9, scratch/001.png" in shown
    assert f"{place['top']}–{place['bottom']}" in shown
    told = run("info", eyes).stdout
    assert "grey, 16×16 pixels" in told
    assert "28 images" in told
    assert "pixel_scaling" in told
    assert "max_categories" not in told
    of_batch = run("score", eyes, line / "test", "-o", eyes.with_name("scores.csv"), "--fdr", 0.1, "--reasons", "none")
    said = "".join([told, of_batch.output, *(run(word, eyes).output for word in ("threshold", "info"))])
    said += run("evaluate", eyes, line / "test", "--anomaly", "scratch", "--bootstrap", 0).output
    assert not re.search(r"\brows?\b", said), "images, not rows"
    assert run("threshold", eyes, "mad:3.5", "-o", eyes.with_name("changed.offnormal"), "-q").exit_code == 0


def test_an_array_file_and_one_image_are_data_too(run, eyes, line, loaded, tmp_path):
    images = offnormal.read_images(line / "test" / "scratch").pixels[:, 0]
    np.savez(tmp_path / "scratched.npz", images=images)
    rows = table(run("score", eyes, tmp_path / "scratched.npz", "-o", "-", "-q").stdout)
    assert [row["image"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["anomaly_score"]) for row in rows] == loaded.anomaly_score(images).tolist()
    (row,) = table(run("score", eyes, line / "test" / "scratch" / "002.png", "-o", "-", "-q").stdout)
    assert row["image"] == "002.png"
    assert float(row["anomaly_score"]) == pytest.approx(float(rows[2]["anomaly_score"]), rel=1e-4)
    model = tmp_path / "m.offnormal"
    assert run("fit", tmp_path / "scratched.npz", "-o", model, *QUICK, "--calibration", "none", "-q").exit_code == 0
    refused = run("evaluate", eyes, tmp_path / "scratched.npz", "--anomaly", "scratch", "-q")
    assert refused.exit_code == 2
    assert "has no subfolders" in refused.stderr


def test_without_a_method_images_get_the_autoencoder(run, line, tmp_path):
    target = tmp_path / "m.offnormal"
    quick = ("--epochs", 1, "--calibration", "none", "--image-size", "8x12", "--color", "rgb")
    result = run("fit", line / "train", "-o", target, *quick, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["method"], record["image_shape"], record["rows"]) == ("autoencoder", [3, 8, 12], 28)
    assert "Method autoencoder, the default for images" in result.stderr
    assert "Of 28 images: all resized to 8×12, all turned into color." in result.stderr
    named = run("fit", line / "train", "-o", target, "-m", "auto", "--epochs", "x", "-q")
    assert "--epochs must be" in named.stderr


def test_interrupted_training_on_images_is_resumed(run, line, tmp_path, monkeypatch):
    arguments = ("fit", line / "train", "-m", "autoencoder", "--epochs", 4, "--calibration", "none", "-q")
    whole, broken = tmp_path / "whole.offnormal", tmp_path / "broken.offnormal"
    assert run(*arguments, "-o", whole).exit_code == 0

    def interrupt(self: TrainingProgress, progress: Any) -> None:
        self.last = progress
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patched.setattr(TrainingProgress, "__call__", interrupt)
        stopped = run(*arguments, "-o", broken)
    assert stopped.exit_code == 130
    assert "--resume" in stopped.stderr
    assert run(*arguments, "-o", broken, "--resume").exit_code == 0
    images = offnormal.read_images(line / "test")
    assert np.array_equal(*(offnormal.load(path).anomaly_score(images) for path in (whole, broken)))


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_other_sizes_and_colors_are_brought_to_the_model_s_and_said(run, eyes, loaded, tmp_path):
    images = waves(3, 5)
    keep(images, tmp_path / "in")
    Image.fromarray(images[0]).resize((32, 40)).save(tmp_path / "in" / "large.png")
    Image.fromarray(images[1]).convert("RGB").save(tmp_path / "in" / "colored.png")
    result = run("score", eyes, tmp_path / "in", "-o", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    assert "Of 5 images: 1 resized to 16×16, 1 turned to grey." in result.stderr
    assert "Another size than the rest, so stretched: large.png." in result.stderr
    rows = {row["image"]: float(row["anomaly_score"]) for row in table((tmp_path / "s.csv").read_text())}
    assert rows["colored.png"] == pytest.approx(rows["001.png"], rel=1e-4)
    read = offnormal.read_images(tmp_path / "in", size=16, color="grey")
    assert list(rows.values()) == loaded.anomaly_score(read).tolist()


def test_grey_and_color_must_be_told_apart_to_train(run, tmp_path):
    keep(waves(3, 5), tmp_path / "in")
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "colored.png")
    arguments = ("fit", tmp_path / "in", "-o", tmp_path / "m.offnormal", *QUICK, "--calibration", "none")
    refused = run(*arguments, "-q")
    assert refused.exit_code == 2
    assert "--color grey or --color rgb" in refused.stderr
    assert "colored.png" in refused.stderr
    assert run(*arguments, "--color", "grey", "-q").exit_code == 0


def test_a_broken_file_keeps_its_row_and_says_why(run, eyes, line, tmp_path):
    data, target = tmp_path / "in", tmp_path / "s.csv"
    shutil.copytree(line / "test", data)
    assert run("score", eyes, data, "-o", target, "-q").exit_code == 0
    whole = table(target.read_text())
    (data / "good" / "003.png").write_bytes((data / "good" / "003.png").read_bytes()[:90])
    refused = run("score", eyes, data, "-o", target, "--strict", "-q")
    assert refused.exit_code == 2
    assert "003.png" in refused.stderr
    assert refused.stderr.count("\n") == 1
    passed = run("score", eyes, data, "-o", target)
    assert passed.exit_code == 0, passed.output
    assert re.search(r"Warning: 1 of 12 images cannot be used and has no score\. The image '.*003\.png'", passed.stderr)
    assert "of 11 images flagged" in passed.stdout
    rows = table(target.read_text())
    for before, after in zip(whole[:3] + whole[4:], rows[:3] + rows[4:], strict=True):
        assert float(after.pop("anomaly_score")) == pytest.approx(float(before.pop("anomaly_score")), rel=1e-12)
        assert after == before
    assert (rows[3]["image"], rows[3]["row"]) == ("good/003.png", "3")
    assert [rows[3][name] for name in ("anomaly_score", "p_value", "is_anomaly")] == [""] * 3
    assert re.match(r"not scored: The image '.*003\.png' is damaged", rows[3]["reasons"])
    lines = run("score", eyes, data, "-o", tmp_path / "s.jsonl", "--json", "-q", "--fdr", 0.2, "--reasons", "none")
    (left_out,) = json.loads(lines.stdout)["unusable"]
    assert left_out["image"] == "good/003.png"
    unscored = json.loads((tmp_path / "s.jsonl").read_text().splitlines()[3])
    assert (unscored["anomaly_score"], unscored["p_value"], unscored["is_anomaly"]) == (None, None, None)
    assert "not scored" in unscored["reasons"]
    reported = run("report", eyes, data, "-o", tmp_path / "r.html", "--normal", "good", "--top", 2)
    assert "The report on 11 images" in reported.stdout
    explained = json.loads(run("explain", eyes, data, "--worst", 12, "--json", "-q").stdout)["rows"]
    assert sorted(row["row"] for row in explained) == [0, 1, 2, *range(4, 12)]
    measured = json.loads(run("evaluate", eyes, data, "--bootstrap", 0, "--json", "-q").stdout)
    assert (measured["rows"], measured["unusable"]) == (11, [left_out])
    for file in data.rglob("*.png"):
        file.write_bytes(b"")
    none = run("score", eyes, data, "-o", tmp_path / "none.csv", "-q")
    assert none.exit_code == 2
    assert "None of the 12 images can be used" in none.stderr
    assert not (tmp_path / "none.csv").exists()


def test_training_leaves_out_what_it_cannot_use(run, tmp_path):
    keep(waves(21, 5), tmp_path / "in")
    (tmp_path / "in" / "004.png").write_bytes(b"")
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "colored.png")
    arguments = ("fit", tmp_path / "in", "-o", tmp_path / "m.offnormal", *QUICK, "--calibration", "none")
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["rows"] == 20
    assert [one["image"] for one in record["unusable"]] == ["004.png", "colored.png"]
    assert "is empty" in record["unusable"][0]["reason"]
    assert "--color grey or --color rgb" in record["unusable"][1]["reason"]
    assert "Warning: 2 of 22 images cannot be used and are left out." in result.stderr
    strict = run(*arguments, "--strict", "-q")
    assert strict.exit_code == 2
    assert "004.png" in strict.stderr


def test_a_method_without_maps_leaves_reasons_empty_with_one_warning(run, eyes, line, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise NotSupported("This method does not say which pixels made its score.")

    monkeypatch.setattr(PCAReconstruction, "residual_maps", refuse)
    result = run("score", eyes, line / "test", "-o", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("Warning:") == 1
    assert {row["reasons"] for row in table((tmp_path / "s.csv").read_text())} == {""}
    refused = run("score", eyes, line / "test", "-o", tmp_path / "s.csv", "--maps", tmp_path / "maps", "-q")
    assert refused.exit_code == 2
    assert not (tmp_path / "maps").exists()


def test_maps_that_cannot_be_written_leave_nothing(run, eyes, line, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    target = tmp_path / "s.csv"
    result = run("score", eyes, line / "test", "-o", target, "--maps", tmp_path / "maps", "-q")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit LINE -o m.offnormal --label kind", "--label is for tables"),
        ("fit LINE -o m.offnormal --id number", "each image goes by its path"),
        ("fit LINE -o m.offnormal --names a,b", "--names is for tables"),
        ("fit LINE -o m.offnormal --train-where label=good", "--only SUBFOLDER picks"),
        ("fit LINE -o m.offnormal --only train/god", "Did you mean 'train/good'"),
        ("fit LINE -o m.offnormal --image-size big", "--image-size must be"),
        ("fit EMPTY -o m.offnormal", "has no images in it"),
        ("fit NOWHERE -o m.offnormal", "There is no file or folder"),
        ("fit TABLE -o m.offnormal --only good", "--train-where picks its rows"),
        ("fit TABLE -o m.offnormal --image-size 64", "--image-size is for images"),
        ("score EYES LINE -o s.csv --encoding cp949", "--encoding is for tables"),
        ("score EYES TABLE -o s.csv", "was fitted to images of grey, 16×16 pixels"),
        ("score MODEL LINE -o s.csv", "was fitted to a table of 3 columns"),
        ("score MODEL TABLE -o s.csv --maps maps", "--maps is for images"),
        ("score MODEL TABLE -o s.csv --masks maps", "--masks is for images"),
        ("score EYES LINE -o s.csv --masks maps", "on whole images, so it says nothing of pixels"),
        ("score EYES LINE -o s.csv --masks maps --fdr 0.1", "--fdr puts the cut elsewhere"),
        ("score EYES LINE -o s.csv --masks maps --maps maps", "need a folder each"),
        ("score EYES LINE -o s.csv --masks maps --maps maps/a", "neither within the other"),
        ("score EYES LINE -o s.csv --maps-of all", "give one of them"),
        ("score MODEL TABLE -o s.csv --strict", "--strict is for images"),
        ("score EYES LINE -o s.csv --maps LINE/maps", "would be taken for images"),
        ("score EYES LINE -o s.csv --maps LINE", "new or empty folder"),
        ("score LINE EYES -o s.csv", "swap them"),
        ("info LINE", "which is data"),
        ("evaluate EYES LINE/train", "Say which subfolder holds anomalies"),
        ("evaluate EYES LINE --label kind --anomaly bad", "their subfolders are the labels"),
        ("evaluate EYES LINE --anomaly scrach", "no subfolder with images 'scrach'"),
        ("evaluate EYES LINE --anomaly test --normal test/good", "both --anomaly and --normal"),
        ("evaluate EYES LINE --anomaly test --anomaly train", "No normal image is left"),
        ("evaluate MODEL TABLE --anomaly attack", "--label COLUMN is needed"),
        ("report EYES LINE -o r.html --anomaly test/scratch --normal test/good", "28 images without a label"),
        ("explain EYES LINE --row 40", "images 0 to 11"),
    ],
)
def test_mistakes_are_told_in_one_sentence(run, eyes, model, data, line, tmp_path, monkeypatch, words, said):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    places = {"LINE": line, "EYES": eyes, "MODEL": model, "TABLE": data, "EMPTY": "empty", "NOWHERE": "nowhere"}
    for name, place in places.items():
        words = re.sub(rf"\b{name}\b", str(place), words)
    result = run(*words.split(), "-q") if not words.startswith("info") else run(*words.split())
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
