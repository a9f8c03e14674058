"""Video from `fit` to one score per frame, on a bar that moves right; in the odd recordings it jumps back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import offnormal
from offnormal import thresholds
from offnormal.cli import filmed, recordings
from offnormal.data.video import clips_of, read_recordings
from offnormal.frame_scores import score_frames

SIDE, LENGTH = 8, 4
QUICK = ("-m", "pca", "--n-components", 6, "--clip-length", LENGTH)


def bar(frames: int, seed: int, *, odd: bool = False) -> np.ndarray[Any, Any]:
    """Return (t, h, w); an odd one goes back from the middle on."""
    draw, time = np.random.default_rng(seed), np.arange(frames)
    if odd:
        time = np.minimum(time, frames - time)
    behind = (time[:, None] + draw.integers(0, SIDE) - np.arange(SIDE)) % SIDE
    lines = np.where(behind < 3, 220, 40)[:, None, :]
    return (lines + draw.normal(0, 4, (frames, SIDE, SIDE))).clip(0, 255).astype(np.uint8)


def keep(frames: np.ndarray[Any, Any], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames, in numbers that sort otherwise as words: train/8 to train/11, test/1, test/2."""
    root = tmp_path_factory.mktemp("films")
    for seed in range(8, 12):
        keep(bar(30, seed), root / "train" / str(seed))
    keep(bar(14, 0), root / "test" / "1")
    keep(bar(20, 1, odd=True), root / "test" / "2")
    keep(bar(3, 2), root / "short" / "3")
    return root


@pytest.fixture(scope="module")
def model(run: Callable[..., Any], films: Path) -> Path:
    target = films.parent / "films.offnormal"
    result = run("fit", films / "train", "-o", target, "--video", *QUICK, "--clip-stride", 2)
    assert result.exit_code == 0, result.output
    for said in (
        "4 recordings, 120 frames",
        "40, and 20 of other frames",
        "1 channel, 4 frames, 8×8",
        "come from 4 recordings",
        f"offnormal score {target} NEW_VIDEO",
    ):
        assert said in result.stdout
    return target


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("align", ["center", "last"])
def test_every_frame_has_a_row_and_its_score(run, model, films, tmp_path, align):
    target = tmp_path / "scores.csv"
    given = () if align == "center" else ("--align", align)
    result = run("score", model, films / "test", "-o", target, "--json", *given)
    assert result.exit_code == 0, result.output
    rows, detector = table(target.read_text()), offnormal.load(model)
    assert list(rows[0]) == ["video", "frame", "time_s", "anomaly_score", "p_value", "is_anomaly"]
    assert [(row["video"], int(row["frame"])) for row in rows] == [("1", i) for i in range(14)] + [
        ("2", i) for i in range(20)
    ]
    expected = np.concatenate([score_frames(detector, film, align=align) for film in read_recordings(films / "test")])
    assert [float(row["anomaly_score"] or "nan") for row in rows] == pytest.approx(expected, nan_ok=True, rel=1e-12)
    known = np.isfinite(expected)
    assert known.sum() == 34 - 2 * (LENGTH - 1)
    assert [row["p_value"] == row["is_anomaly"] == row["anomaly_score"] == "" for row in rows] == (~known).tolist()
    assert {row["time_s"] for row in rows} == {""}
    flagged = [row["is_anomaly"] == "true" for row in rows]
    assert flagged == (expected > detector.threshold_.value).tolist()
    assert sum(flagged[:14]) <= 1  # of 11; the cut promises one in 21
    turned = 14 + 10 + (2 if align == "center" else 3)  # from here on every clip goes back only
    assert all(flagged[turned : 34 - (1 if align == "center" else 0)])
    answer = json.loads(result.stdout)
    assert (answer["videos"], answer["frames"], answer["scored"]) == (2, 34, int(known.sum()))
    assert (answer["flagged"], answer["unreadable"]) == (sum(flagged), {})


def test_the_cut_rests_on_frames_that_training_never_saw(run, model, films, tmp_path):
    """Of four recordings the last tenth is kept out, here the least it can be: eight frames of each."""
    detector, train = offnormal.load(model), read_recordings(films / "train")
    assert detector.schema_.shape == (1, LENGTH, SIDE, SIDE)
    kept_out = np.concatenate([clips_of(film.frames[22:], LENGTH) for film in train])
    trained_on = np.concatenate([clips_of(film.frames[:22], LENGTH, 2) for film in train])
    assert (detector.calibration_.kind, detector.training_["rows"]) == ("holdout", len(trained_on))
    np.testing.assert_array_equal(detector.calibration_.scores, np.sort(detector.anomaly_score(kept_out)))
    np.testing.assert_array_equal(detector.training_scores_, np.sort(detector.anomaly_score(trained_on)))
    alone = thresholds.default_cut(detector.calibration_.scores)
    assert (detector.threshold_.value, detector.threshold_.rule) == (alone.value, alone.rule)
    assert detector.calibration_.groups == 4
    assert "20 calibration rows are of 4 groups" in detector.threshold_.promise
    assert "20 calibration clips are of 4 groups" in run("info", model).output.replace("\n", " ")
    assert detector.offset_ == -detector.threshold_.value
    assert "1 channel, 4 frames, 8×8" in run("info", model).output
    asked = tmp_path / "asked.offnormal"
    words = ("--calibration", "holdout", "--threshold", "conformal:0.2", "--clip-stride", 2, "-q")
    assert run("fit", films / "train", "-o", asked, "--video", *QUICK, *words).exit_code == 0
    detector = offnormal.load(asked)
    assert (detector.calibration_.n, detector.training_["rows"], detector.threshold_.rule) == (14, 42, "conformal:0.2")


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [([30], [8]), ([100, 11, 30], [10, 0, 8]), ([11], [0]), ([11, 11], None), ([30] * 5, None), ([30] * 24, None)],
)
def test_what_is_kept_out_is_the_end_of_few_recordings_and_a_tenth_of_many(lengths, kept):
    borders = recordings._borders(lengths, LENGTH, 0)
    found = [length - border for length, border in zip(lengths, borders, strict=True)]
    if kept is None:  # whole ones
        assert all(frames in (0, length) for frames, length in zip(found, lengths, strict=True))
        assert sum(map(bool, found)) == max(round(len(lengths) / 10), 1)
    else:
        assert found == kept
    assert recordings._borders(lengths, LENGTH, None) == lengths


def test_clips_of_one_recording_are_held_out_together(films: Path) -> None:
    wanted = recordings.Wanted.of(None, "auto", LENGTH, 2, strict=False)
    whole = recordings.cut(str(films / "train"), wanted, None, quiet=True)
    assert whole.groups is not None
    assert list(np.bincount(whole.groups)) == [14] * 4
    assert len(whole.groups) == len(whole.training)
    assert recordings.cut(str(films / "train" / "8"), wanted, None, quiet=True).groups is None
    parts = recordings.cut(str(films / "train"), wanted, 0, quiet=True)
    assert parts.groups is not None
    assert len(parts.groups) == len(parts.training) == 40


def test_files_of_video_need_no_saying_and_have_times(run, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed: no file of video can be written or read")
    for seed in range(2):
        with av.open(str(tmp_path / f"cam{seed}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width = stream.height = SIDE * 2
            stream.pix_fmt = "gray"
            for frame in bar(30, seed).repeat(2, axis=1).repeat(2, axis=2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
            container.mux(stream.encode())
    (tmp_path / "broken.avi").write_bytes(b"no video" * 99)
    target = tmp_path / "cams.offnormal"
    result = run("fit", tmp_path, "-o", target, *QUICK, "--image-size", SIDE)
    assert result.exit_code == 0, result.output
    assert "1 of 3 recordings cannot be read and is passed over: broken.avi" in result.stderr
    refused = run("score", target, tmp_path, "-o", "-", "--strict", "-q")
    assert (refused.exit_code, "is damaged" in refused.output) == (2, True)
    result = run("score", target, tmp_path / "cam1.mkv", "-o", "-")
    assert result.exit_code == 0, result.output
    rows = table(result.stdout)
    assert [float(row["time_s"]) for row in rows] == pytest.approx(np.arange(30) / 10)
    assert {row["video"] for row in rows} == {"cam1.mkv"}
    assert "of 27 scored frames of 1 recording flagged" in result.stderr


def test_what_does_not_fit_is_refused_in_words(run, model, films, tmp_path):
    new = ("-o", tmp_path / "m.offnormal")
    out = ("-o", tmp_path / "s.csv")
    (tmp_path / "film.mp4").write_bytes(b"1")
    for words, said in (
        (("fit", films / "train", *new, "--clip-length", 4), "--clip-length is for video"),
        (("fit", films / "train", *new, "--video", "--only", "8"), "--only has no meaning for video"),
        (("fit", tmp_path / "film.mp4", *new, "--label", "x"), "--label has no meaning for video"),
        (("fit", films / "short", *new, "--video"), "No recording in"),
        (("fit", tmp_path / "film.mp4", *new), "film.mp4"),
        (("score", model, films / "test", *out, "--fdr", "0.1"), "--fdr has no meaning for video"),
        (("score", model, films / "test", *out, "--reasons", "all"), "--reasons all has no meaning for video"),
        (("score", model, tmp_path / "none", *out), "no file or folder"),
    ):
        result = run(*words)
        assert (result.exit_code, said in result.output) == (2, True), (words, result.output)
    result = run("score", model, films / "short", *out)
    assert result.exit_code == 0
    assert "0 of 0 scored frames of 1 recording flagged" in result.output
    assert "fewer than the 4 of a clip" in result.output


def test_clips_of_arrays_can_be_scored_too(run, model, tmp_path):
    films = np.stack([bar(6, seed)[None] for seed in range(3)])  # (rows, c, t, h, w)
    np.save(tmp_path / "clips.npy", films)
    result = run("score", model, tmp_path / "clips.npy", "-o", "-", "-q")
    assert result.exit_code == 0, result.output
    rows = table(result.stdout)
    assert [row["video"] for row in rows] == [f"clips.npy/{i}" for i in range(3) for _ in range(6)]
    scored = [float(row["anomaly_score"]) for row in rows if row["anomaly_score"]]
    expected = [offnormal.load(model).anomaly_score(clips_of(film[0][:, None], LENGTH)) for film in films]
    assert scored == pytest.approx(np.concatenate(expected), rel=1e-12)


def test_evaluate_holds_scores_of_frames_against_a_table_of_frames_or_of_spans(
    run: Callable[..., Any], films: Path, model: Path, tmp_path: Path
) -> None:
    scores = {one.name: score_frames(offnormal.load(model), one) for one in read_recordings(films / "test")}
    odd = {"1": range(0), "2": range(10, 17)}
    frames, spans = tmp_path / "frames.csv", tmp_path / "spans.csv"
    lines = [f"{name},{i},{int(i in odd[name])}" for name in odd for i in range(len(scores[name]))]
    frames.write_text("video,frame,label\n" + "\n".join(lines))
    spans.write_text("video,first,last\n2,10,16\n")
    records = [
        json.loads(run("evaluate", model, films / "test", "--frame-labels", path, "--json").stdout)
        for path in (frames, spans)
    ]
    assert records[0] == records[1]
    labels = {name: np.isin(np.arange(len(one)), odd[name]) for name, one in scores.items()}
    y, values = np.concatenate(list(labels.values())), np.concatenate(list(scores.values()))
    known = np.isfinite(values)
    assert records[0]["frame_auroc"] == pytest.approx(roc_auc_score(y[known], values[known]))
    second = np.isfinite(scores["2"])
    expected = roc_auc_score(labels["2"][second], scores["2"][second])
    assert records[0]["frame_auroc_per_video"] == pytest.approx(expected)
    assert records[0]["videos_of_one_class"] == 1
    assert records[0]["left_out"] == (~known).sum()
    told = run("evaluate", model, films / "test", "--frame-labels", spans)
    assert "(1 of one class left out)" in " ".join(told.output.split())


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_labels_of_other_recordings_are_refused_before_anything_is_decoded(
    run: Callable[..., Any], films: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "labels.csv").write_text("video,first,last\n9,0,1\n")
    monkeypatch.setattr("offnormal.data.video.Source.read", lambda *_: pytest.fail("decoded"))
    page = ("-o", tmp_path / "page.html") if command == "report" else ()
    result = run(command, model, films / "test", "--frame-labels", tmp_path / "labels.csv", *page)
    assert result.exit_code == 2
    assert "names the recording '9'; the data has 1, 2" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,frame\n1,0\n", "need columns video, frame and label"),
        ("video,frame,label\n9,0,1\n", "names the recording '9'"),
        ("video,first,last\n2,3,99\n", "Line 2 of"),
        ("video,first,last\n2,5,3\n", "Line 2 of"),
        ("video,frame,label\n2,5,7\n", "a label is 0 or 1"),
    ],
)
def test_labels_of_frames_that_do_not_fit_are_said(
    run: Callable[..., Any], films: Path, model: Path, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    result = run("evaluate", model, films / "test", "--frame-labels", path)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_the_report_is_on_the_frames_that_score_gives(
    run: Callable[..., Any], films: Path, model: Path, tmp_path: Path
) -> None:
    page, labels = tmp_path / "films.html", tmp_path / "labels.csv"
    labels.write_text("video,first,last\n2,10,16\n")
    result = run("report", model, films / "test", "-o", page, "--frame-labels", labels, "--lang", "ko", "--top", 2)
    assert result.exit_code == 0, result.output
    assert "The report on 2 recordings, 34 frames" in result.output
    source = page.read_text(encoding="utf-8")
    scores = np.concatenate([score_frames(offnormal.load(model), one) for one in read_recordings(films / "test")])
    data = json.loads(source.partition('id="explore-data">')[2].partition("</script>")[0])
    assert data["scores"] == sorted(scores[np.isfinite(scores)].tolist(), reverse=True)
    assert source.count("<svg viewBox") >= 2
    assert source.count('class="labeled"') == 2  # wide and narrow
    assert '<html lang="ko">' in source
    refused = run("report", model, films / "test", "-o", page, "--normal", "x")
    assert refused.exit_code == 2


def test_labels_of_a_recording_that_cannot_be_read_stop_nothing(
    run: Callable[..., Any], films: Path, model: Path, tmp_path: Path
) -> None:
    keep(bar(20, 1, odd=True), tmp_path / "films" / "2")
    keep(bar(14, 0), tmp_path / "films" / "broken")
    (tmp_path / "films" / "broken" / "3.png").write_bytes(b"no image")
    (tmp_path / "films" / "cut.mp4").write_bytes(b"no video")
    labels = tmp_path / "labels.csv"
    labels.write_text("video,first,last\n2,10,16\nbroken,2,5\ncut,1,2\n")
    result = run("evaluate", model, tmp_path / "films", "--frame-labels", labels, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert list(record["unreadable"]) == ["broken", "cut.mp4"], "labels go by the name without the ending, too"
    assert record["videos"] == 1


def test_a_recording_goes_by_its_name_without_the_ending_where_that_is_one() -> None:
    names = ["a/1.mp4", "2.mp4", "2.avi", "3", "3.mkv", "4.mov"]
    assert filmed._without_endings(names) == {"a/1": "a/1.mp4", "4": "4.mov"}


def test_labels_go_by_the_name_with_and_without_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("video,first,last\na/1,1,2\nb.mov,0,0\n")
    names = np.array(["a/1.mp4"] * 4 + ["b.mov"] * 2)
    given = filmed._Given.read(str(path))
    assert given.labels(names, names, {}).tolist() == [0, 1, 1, 0, 1, 0]


def test_labels_of_frames_come_through_standard_input(run: Callable[..., Any], films: Path, model: Path) -> None:
    given = b"video,first,last\n2,10,16\n"
    result = run("evaluate", model, films / "test", "--frame-labels", "-", "--json", input=given)
    assert result.exit_code == 0, result.output


def test_the_caution_is_for_a_rate_that_is_promised(run: Callable[..., Any], films: Path, tmp_path: Path) -> None:
    words = ("fit", films / "train", "-o", tmp_path / "m.offnormal", "--video", *QUICK, "--clip-stride", 2)
    told = " ".join(run(*words, "--contamination", 0.1).stdout.split())
    assert "of other frames for p-values" in told
    assert "the rate of false alarms can be far" not in told


def test_names_like_times_are_no_frames(run: Callable[..., Any], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "p" / folder).mkdir(parents=True)
        for number in range(16):
            stamp = 1_700_000_000_000_000_000 + number * 10**15
            Image.fromarray(bar(16, 0)[number]).save(tmp_path / "p" / folder / f"{stamp}.png")
    words = ("fit", tmp_path / "p", "-o", tmp_path / "m.offnormal", "-m", "pca", "--calibration", "none")
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "--video" not in result.stderr


def test_folders_of_numbered_images_are_told_of_video(run: Callable[..., Any], tmp_path: Path) -> None:
    keep(bar(16, 0), tmp_path / "films" / "1")
    keep(bar(16, 1), tmp_path / "films" / "2")
    words = ("fit", tmp_path / "films", "-o", tmp_path / "m.offnormal", "-m", "pca", "--calibration", "none")
    assert "fit again with --video" in " ".join(run(*words).stderr.split())
    (tmp_path / "films" / "2" / "7.png").unlink()
    assert "--video" not in run(*words).stderr
