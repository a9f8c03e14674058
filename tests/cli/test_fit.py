from __future__ import annotations

import json
import tempfile

import numpy as np
import pyarrow.csv as pacsv
import pytest

from offnormal import AutoDetector, io
from offnormal import detector as detectors
from offnormal.errors import EnvironmentFailure
from offnormal.methods.autoencoder import AutoencoderNetwork

ROLES = ("--id", "number", "--label", "label")
QUICK = ("-m", "dagmm", "--epochs", "2", "--hidden-sizes", "4", "--calibration", "none")


def test_a_summary_says_what_was_learned_and_what_to_run_next(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run("fit", data, "-o", target, "-m", "pca", *ROLES)
    assert result.exit_code == 0, result.output
    for words in ("400", "3 used", "amount, speed, country", "conformal:0.01", f"offnormal score {target} {data}"):
        assert words in result.stdout
    assert "Reading" in result.stderr
    assert target.exists()


def test_labels_and_ids_are_not_columns_of_the_model(model):
    schema = io.load(model).schema_
    assert schema.names == ("amount", "speed", "country")
    assert schema.ids == ("number",)
    assert schema.ignored == ("label",)


def test_train_where_picks_the_training_rows(run, data, tmp_path):
    arguments = ("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "--json", "--quiet")
    every = json.loads(run(*arguments).stdout)
    benign = json.loads(run(*arguments, "--train-where", "label=benign").stdout)
    korean = json.loads(run(*arguments, "--train-where", "label=benign and amount>=100").stdout)
    assert every["rows"] == 400
    assert benign["rows"] == 380
    assert 0 < korean["rows"] < 380
    assert korean["columns"] == ["amount", "speed", "country"]


def test_a_column_that_picks_the_training_rows_is_kept_out_and_said(run, data, tmp_path):
    result = run(
        "fit",
        data,
        "-o",
        tmp_path / "m.offnormal",
        "-m",
        "pca",
        "--id",
        "number",
        "--train-where",
        "label=benign",
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["columns"] == ["amount", "speed", "country"]
    assert "Column 'label' picks the training rows, so it is kept out" in result.stderr


def test_rows_of_a_group_are_kept_out_together(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run("fit", data, "-o", target, "-m", "pca", *ROLES, "--group", "country")
    assert result.exit_code == 0, result.output
    assert "The calibration rows are of 3 groups, and those of one are alike" in result.stderr
    detector = io.load(target)
    assert detector.schema_.names == ("amount", "speed")
    assert detector.schema_.ignored == ("label", "country")
    alike = run("fit", data, "-o", tmp_path / "n.offnormal", "-m", "pca", *ROLES, "--ignore", "country")
    assert alike.exit_code == 0, alike.output
    other = io.load(tmp_path / "n.offnormal")
    assert not np.array_equal(detector.calibration_.scores, other.calibration_.scores)
    table = pacsv.read_csv(data)
    assert np.array_equal(detector.anomaly_score(table), other.anomaly_score(table)), "the groups are no feature"


def test_a_row_without_a_group_and_groups_that_are_one_are_refused(run, tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("a,b,machine,shop\n" + "".join(f"{n},{n % 7},{'' if n == 3 else n % 5},x\n" for n in range(40)))
    for column, code, said in (
        ("machine", 2, "Column 'machine' has no value in 1 row; --group needs one in every row."),
        ("shop", 2, "All rows are of one group"),
        ("place", 2, "place"),
    ):
        result = run("fit", path, "-o", tmp_path / "m.offnormal", "-m", "pca", "--group", column)
        assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert not (tmp_path / "m.offnormal").exists()


def test_json_is_one_object_and_quiet_says_nothing_else(run, data, tmp_path):
    result = run("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "--json", "--quiet")
    assert result.stderr == ""
    record = json.loads(result.stdout)
    assert record["method"] == "pca"
    assert record["threshold"]["rule"] == "conformal:0.01"
    assert record["calibration"] == {"kind": "folds", "rows": 400}


def test_quiet_is_silent(run, data, tmp_path):
    result = run("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_hyper_parameters_are_flags_and_the_seed_names_the_model(run, data, tmp_path):
    def fitted(name: str, *more: object) -> detectors.Detector:
        target = tmp_path / f"{name}.offnormal"
        result = run("fit", data, "-o", target, *ROLES, *QUICK, "--latent-dim", 2, "--no-early-stopping", "-q", *more)
        assert result.exit_code == 0, result.output
        return io.load(target)

    first, again, other = fitted("a", "--seed", 1), fitted("b", "--seed", 1), fitted("c", "--seed", 2)
    parameters = first.get_params()
    assert parameters["latent_dim"] == 2
    assert parameters["hidden_sizes"] == (4,)
    assert parameters["early_stopping"] is False
    assert parameters["random_state"] == 1
    assert np.array_equal(first.training_scores_, again.training_scores_)
    assert not np.array_equal(first.training_scores_, other.training_scores_)


def test_progress_shows_phase_epoch_terms_and_speed(run, data, tmp_path):
    result = run("fit", data, "-o", tmp_path / "m.offnormal", *ROLES, *QUICK)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "epoch 2 of 2" in line]
    for words in ("joint", "reconstruction", "energy", "rows/s", "left"):
        assert words in line


def test_the_default_method_is_auto(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run("fit", data, "-o", target, *ROLES, "--epochs", 2, "--views", "marginal,robust", "--json", "-q")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["method"] == "auto"
    loaded = io.load(target)
    assert isinstance(loaded, AutoDetector)
    assert loaded.views == ("marginal", "robust")


def test_a_preset_is_a_start_that_flags_override(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run("fit", data, "-o", target, *ROLES, *QUICK, "--preset", "thyroid", "-q")
    assert result.exit_code == 0, result.output
    parameters = io.load(target).get_params()
    assert parameters["scaling"] == "minmax"
    assert parameters["n_components"] == 2
    assert parameters["epochs"] == 2


def test_threshold_and_contamination(run, data, tmp_path):
    def rule(*more: object) -> str:
        result = run("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "-q", "--json", *more)
        return json.loads(result.stdout)["threshold"]["rule"]

    assert rule("--threshold", "mad:4") == "mad:4"
    assert rule("--contamination", "0.05") == "contamination:0.05"


def test_a_cut_that_the_rows_cannot_support_is_refused_but_the_model_is_kept(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run("fit", data, "-o", target, "-m", "pca", *ROLES, "--threshold", "conformal:0.0001", "-q")
    assert result.exit_code == 2
    assert "The model is kept" in result.stderr
    assert io.load(target).threshold_.rule == "conformal:0.01"


def test_data_without_header_takes_names(run, headless, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("number\namount\nspeed\ncountry\nlabel\n")
    for given in ("number,amount,speed,country,label", names):
        result = run(
            "fit", headless, "-o", tmp_path / "m.offnormal", "-m", "pca", "--names", given, *ROLES, "-q", "--json"
        )
        assert json.loads(result.stdout)["rows"] == 400


def test_standard_input(run, data, tmp_path):
    result = run("fit", "-", "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "-q", input=data.read_bytes())
    assert result.exit_code == 0, result.output


def test_the_time_limit_ends_the_training(run, data, tmp_path):
    arguments = (*ROLES, "--epochs", 100_000, "--calibration", "none", "--no-early-stopping", "-q", "--json")
    result = run("fit", data, "-o", tmp_path / "m.offnormal", *arguments, "--time-limit", "0.5s")
    record = json.loads(result.stdout)
    assert record["stopped"] == "time limit"
    assert record["epochs"] < 100_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "dagm"], "Did you mean 'dagmm'?"),
        (["-m", "pca", "--latent-dim", "2"], "Method 'pca' has no --latent-dim"),
        (
            ["-m", "dagmm", "--latent-dim", "0", "--epochs", "x"],
            "--epochs must be an int, at least 0, or None; got 'x'",
        ),
        (["-m", "dagmm", "--preset", "kdd"], "Did you mean 'kddcup'"),
        (["--preset", "kddcup"], "no preset of AutoDetector 'kddcup'. Known: none"),
        (["--label", "lable"], "--label: There is no column 'lable'"),
        (["--ignore", "nothing"], "--ignore: There is no column 'nothing'"),
        (["--id", "nothing"], "--id: There is no column"),
        (["--categorical", "nothing"], "--categorical: There is no column"),
        (["--categorical", "label", "--label", "label"], "--categorical 'label' is also kept out"),
        (["--train-where", "label"], "cannot be read"),
        (["--train-where", "label=bening"], "No row meets"),
        (["--time-limit", "soon"], "--time-limit must be a duration"),
        (["--threshold", "conform"], "conform"),
        (["--threshold", "conformal:0.01", "--contamination", "0.1"], "give one of them"),
        (["--contamination", "0.9"], "contamination must be"),
        (["--resume"], "There is no training to resume"),
        (["--names", "a,a"], "more than once"),
        (["--seed", "-1"], "random_state"),
        (
            ["--ignore", "number", "--ignore", "amount", "--ignore", "speed", "--id", "country", "--label", "label"],
            "No column",
        ),
    ],
)
def test_mistakes_are_told_before_training(run, data, tmp_path, arguments, said):
    result = run("fit", data, "-o", tmp_path / "m.offnormal", "-q", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "output", "code", "said"),
    [
        ("model", "m.offnormal", 2, "DATA must be a table"),
        ("data", "m.pkl", 2, "must end in .offnormal"),
        ("data", "nowhere/m.offnormal", 2, "does not exist"),
    ],
)
def test_wrong_files_are_named(run, request, tmp_path, place, output, code, said):
    result = run("fit", request.getfixturevalue(place), "-o", tmp_path / output, "-q")
    assert result.exit_code == code
    assert said in result.stderr


def test_the_output_is_tried_before_the_data_are_read(run, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    result = run("fit", "no-such-data.csv", "-o", tmp_path / "m.offnormal", "-q")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr


def test_an_old_checkpoint_is_said(run, data, tmp_path):
    (tmp_path / "m.offnormal.checkpoint").mkdir()
    result = run("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES)
    assert result.exit_code == 0
    assert "holds an interrupted training" in result.stderr


def test_a_model_that_cannot_be_saved_is_the_environment(run, data, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise EnvironmentFailure("The disk is full.")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(io, "save", full)
    result = run("fit", data, "-o", tmp_path / "m.offnormal", "-m", "pca", *ROLES, "-q")
    assert result.exit_code == 1
    assert "The disk is full" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_trained_model_is_not_lost_if_its_disk_is_full(run, data, tmp_path, monkeypatch):
    target, save = tmp_path / "m.offnormal", io.save

    def full(detector: detectors.Detector, path: object) -> None:
        if str(path) == str(target):
            raise EnvironmentFailure("The disk is full.")
        save(detector, path)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(io, "save", full)
    result = run("fit", data, "-o", target, "-m", "pca", *ROLES, "-q")
    assert result.exit_code == 1
    (rescued,) = tmp_path.glob("*/m.offnormal")
    assert str(rescued) in result.stderr
    assert io.load(rescued).training_["rows"] == 400


def test_a_cut_without_calibration_rows_does_not_lose_the_model(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    result = run(
        "fit", data, "-o", target, "-m", "pca", *ROLES, "--calibration", "none", "--threshold", "pot:0.001", "-q"
    )
    assert result.exit_code == 2
    assert "The model is kept" in result.stderr
    assert target.exists()


def test_a_generator_that_collapsed_is_one_warning_and_no_failure(run, data, tmp_path, monkeypatch):
    """An autoencoder plays the method with a generator: it makes the same row again and again."""

    class Generating(AutoencoderNetwork):
        """A class of its own: whether a class generates is remembered for the whole process."""

        def generate(self, x):
            return x[:1].expand_as(x)

    monkeypatch.setattr("offnormal.methods.autoencoder.AutoencoderNetwork", Generating)
    monkeypatch.setattr("offnormal.networks.diversity.LEAST_STEPS", 1)
    target = tmp_path / "m.offnormal"
    quick = ("-m", "autoencoder", "--epochs", 2, *ROLES)  # with folds, so several trainings, of which one is the model
    result = run("fit", data, "-o", target, *quick)
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("Warning")]
    assert len(told) == 1
    assert told[0].startswith(
        "Warning: The generator collapsed, or has hardly begun: two rows that it makes differ by 0 of what"
    )
    record = json.loads(run("fit", data, "-o", target, *quick, "-q", "--json").stdout)
    assert (record["diversity"], record["collapsed"]) == (0, True)
    monkeypatch.setattr(Generating, "generate", lambda self, x: 0.5 * x)
    result = run("fit", data, "-o", target, *quick, "--json")
    record = json.loads(result.stdout)
    assert (record["diversity"], record["collapsed"]) == (pytest.approx(0.5), False)
    assert "collapsed" not in result.stderr
