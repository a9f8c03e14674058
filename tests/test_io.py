"""A model file gives the same scores in another process, and every altered one the same scores or one clear error."""

from __future__ import annotations

import copy
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

import offnormal
from fuzzing import Content
from offnormal import checkpoints, io
from offnormal.detector import Detector
from offnormal.errors import EnvironmentFailure, ModelFileError, NotSupported
from offnormal.methods.dagmm import DAGMM
from offnormal.methods.pca import PCAReconstruction

HERE = Path(__file__).parent


def table(rows: int = 150, seed: int = 0) -> pa.Table:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=rows)
    gap = np.where(draw.random(rows) < 0.1, np.nan, draw.normal(size=rows))
    return pa.table(
        {
            "pressure": base + 0.1 * draw.normal(size=rows),
            "flow": 2 * base + 0.1 * draw.normal(size=rows),
            "gap": pa.array(gap, from_pandas=True),
            "valve": draw.choice(["open", "closed", "half"], size=rows),
            "product": draw.choice([f"P{i}" for i in range(8)], size=rows),
            "alarm": draw.random(rows) < 0.3,
            "when": np.datetime64("2026-01-01T00:00:00") + draw.integers(10**6, size=rows).astype("timedelta64[s]"),
        }
    )


QUERY = table(40, seed=1)
DETECTORS: dict[str, Callable[[], Detector]] = {
    "dagmm": lambda: DAGMM(epochs=2, early_stopping=False, max_categories=5, hidden_sizes=(6, 3)),
    "pca": lambda: PCAReconstruction(max_categories=5, calibration="holdout"),
}
FITTED: dict[str, Detector] = {}


def fitted(key: str) -> Detector:
    """Return one fitted detector per process."""
    if key not in FITTED:
        FITTED[key] = DETECTORS[key]().fit(table())
    return FITTED[key]


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return fitted(request.param)


@pytest.fixture
def model(detector: Detector, tmp_path: Path) -> Path:
    path = tmp_path / "model.offnormal"
    offnormal.save(detector, path)
    return path


@pytest.fixture
def dagmm(tmp_path: Path) -> Path:
    path = tmp_path / "model.offnormal"
    offnormal.save(fitted("dagmm"), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        offnormal.load(path)
    assert len(str(caught.value)) < 800
    return str(caught.value)


def alter(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change the manifest and pack the file with right checksums."""
    content = Content.of(path.read_bytes())
    change(content.manifest)
    path.write_bytes(content.packed())
    return path


def alter_tensors(path: Path, change: Callable[[dict[str, np.ndarray[Any, Any]]], Any]) -> Path:
    content = Content.of(path.read_bytes())
    arrays = content.arrays
    change(arrays)
    path.write_bytes(content.packed(tensors=safetensors.numpy.save(arrays)))
    return path


# --- what was saved comes back ----------------------------------------------------------------------------------------


def test_another_process_gives_the_same_scores(detector: Detector, model: Path, tmp_path: Path) -> None:
    pq.write_table(QUERY, tmp_path / "rows.parquet")
    script = (
        "import json, sys, numpy, offnormal; from pyarrow import parquet; detector = offnormal.load(sys.argv[1]);"
        "rows = parquet.read_table(sys.argv[2]);"
        "numpy.savez(sys.argv[3], score=detector.anomaly_score(rows), p=detector.p_value(rows),"
        "decision=detector.predict(rows), reasons=json.dumps(detector.explain(rows).reasons()))"
    )
    arguments = [str(model), str(tmp_path / "rows.parquet"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-W", "error", "-c", script, *arguments], check=True, timeout=60)
    found = np.load(tmp_path / "out.npz")
    assert np.array_equal(found["score"], detector.anomaly_score(QUERY))
    assert np.array_equal(found["p"], detector.p_value(QUERY))
    assert np.array_equal(found["decision"], detector.predict(QUERY))
    assert json.loads(str(found["reasons"])) == detector.explain(QUERY).reasons()


def test_everything_a_fit_leaves_comes_back(detector: Detector, model: Path) -> None:
    loaded = offnormal.load(model)
    assert type(loaded) is type(detector)
    assert loaded.get_params() == detector.get_params()
    assert loaded.schema_ == detector.schema_
    assert loaded.threshold_ == detector.threshold_
    assert loaded.offset_ == detector.offset_
    assert loaded.training_ == detector.training_
    assert loaded.calibration_.kind == detector.calibration_.kind
    assert np.array_equal(loaded.calibration_.scores, detector.calibration_.scores)
    assert np.array_equal(loaded.feature_names_in_, detector.feature_names_in_)
    assert (loaded.n_features_in_, loaded.seed_) == (detector.n_features_in_, detector.seed_)
    assert loaded.set_threshold("mad:3").threshold_ == copy.deepcopy(detector).set_threshold("mad:3").threshold_
    refitted = loaded.fit(table())
    assert np.array_equal(refitted.anomaly_score(QUERY), detector.anomaly_score(QUERY))


@pytest.mark.parametrize("key", DETECTORS)
def test_a_model_of_an_array_has_no_names(key: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    detector = DETECTORS[key]().set_params(calibration="none").fit(rows)
    offnormal.save(detector, tmp_path / "model")
    loaded = offnormal.load(tmp_path / "model")
    assert not hasattr(loaded, "feature_names_in_")
    assert loaded.calibration_.n == 0
    assert np.array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


@pytest.mark.parametrize("rule", ["conformal:0.05", "quantile:0.9", "mad:3", "pot:0.005,0.9", "fixed:3.5", 0.1])
def test_every_rule_of_the_threshold_comes_back(rule: Any, tmp_path: Path) -> None:
    detector = copy.deepcopy(fitted("pca"))
    detector.calibration_ = io.Calibration(np.sort(np.random.default_rng(0).exponential(size=500)), "holdout")
    detector.set_threshold(rule)
    offnormal.save(detector, tmp_path / "model")
    assert offnormal.load(tmp_path / "model").threshold_ == detector.threshold_


def test_numbers_of_numpy_as_parameters_come_back_as_plain_ones(tmp_path: Path) -> None:
    detector = DAGMM(
        epochs=np.int64(2), latent_dim=np.int32(2), dropout=np.float32(0.5), hidden_sizes=[np.int64(4)],
        early_stopping=np.bool_(False), calibration="none",
    ).fit(table())  # fmt: skip
    offnormal.save(detector, tmp_path / "model")
    loaded = offnormal.load(tmp_path / "model")
    assert loaded.get_params() == {**detector.get_params(), "hidden_sizes": (4,)}
    assert type(loaded.get_params()["latent_dim"]) is int
    assert np.array_equal(loaded.anomaly_score(QUERY), detector.anomaly_score(QUERY))


def test_a_model_of_a_machine_with_a_gpu_is_read_onto_the_cpu(detector: Detector, tmp_path: Path) -> None:
    trained_there = copy.deepcopy(detector).set_params(device="cuda:3")
    offnormal.save(trained_there, tmp_path / "model")
    loaded = offnormal.load(tmp_path / "model")
    assert loaded.scorer_.device == torch.device("cpu")
    assert np.array_equal(loaded.anomaly_score(QUERY), detector.anomaly_score(QUERY))


def test_loading_changes_no_global_random_state(model: Path) -> None:
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    offnormal.load(model)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_info_tells_without_building(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "_restore", lambda *_: pytest.fail("was built"))
    told = io.info(model)
    assert told["kind"] == "offnormal model"
    assert set(told["versions"]) == {"offnormal", "python", "numpy", "torch", "scikit-learn", "pyarrow"}


# --- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failed_save_leaves_the_old_file(model: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str) -> None:
    before = model.read_bytes()

    opened = Path.open

    def fail(target: Any, *arguments: Any, **named: Any) -> Any:
        if step == "open" and ".tmp" not in str(target):
            return opened(target, *arguments, **named)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(EnvironmentFailure, match="The older file is unchanged"):
            offnormal.save(fitted("pca"), model)
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_what_is_not_fitted_or_not_registered_is_not_saved(model: Path) -> None:
    class Derived(PCAReconstruction):
        pass

    before = model.read_bytes()
    with pytest.raises(ValueError, match="not fitted"):
        offnormal.save(DAGMM(), model)
    with pytest.raises(NotSupported, match="Derived is not a method of offnormal's registry"):
        offnormal.save(Derived().fit(table()), model)
    assert model.read_bytes() == before


def test_what_could_not_be_read_back_is_not_saved(model: Path) -> None:
    before = model.read_bytes()
    changed = copy.deepcopy(fitted("dagmm")).set_params(latent_dim=3)
    with pytest.raises(ModelFileError, match=r"cannot be saved: tensor .* fit again"):
        offnormal.save(changed, model)
    spoiled = copy.deepcopy(fitted("pca"))
    spoiled.scorer_.method.mean[0] = torch.nan
    with pytest.raises(ModelFileError, match=r"cannot be saved: tensor 'method.mean' holds .* not finite"):
        offnormal.save(spoiled, model)
    assert model.read_bytes() == before


def test_an_empty_component_may_weigh_minus_infinity(tmp_path: Path) -> None:
    """log φ of a component without rows; with no component left there is no score."""
    detector = copy.deepcopy(fitted("dagmm"))
    constant = detector.scorer_.method.get_buffer("whitening_constant")
    constant[0] = -torch.inf
    offnormal.save(detector, tmp_path / "model")
    assert np.array_equal(offnormal.load(tmp_path / "model").anomaly_score(QUERY), detector.anomaly_score(QUERY))
    constant.fill_(-torch.inf)
    with pytest.raises(ModelFileError, match="no score"):
        offnormal.save(detector, tmp_path / "model")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_refused(model: Path) -> None:
    data = model.read_bytes()
    for length in (0, 3, 100, len(data) // 2, len(data) - 1):
        model.write_bytes(data[:length])
        assert str(model) in refusal(model)


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "final.checkpoint"
    weights = {"weight": torch.zeros(2)}
    checkpoints.write(path, checkpoints.State("", {}, {}, weights, {}, {}, {}))
    assert "is not a model of offnormal" in refusal(path)
    with pytest.raises(ModelFileError, match="is not a model of offnormal"):
        io.info(path)


def test_a_newer_format_and_an_unknown_method_ask_for_an_upgrade(model: Path) -> None:
    assert "Upgrade offnormal" in refusal(alter(model, lambda m: m.update(format_version=2)))
    alter(model, lambda m: m.update(format_version=1, method="dagmm2"))
    assert "made by the method 'dagmm2', which this version of offnormal does not have. Upgrade" in refusal(model)
    assert len(refusal(alter(model, lambda m: m.update(method="x" * 10**6)))) < 300


def test_a_hyper_parameter_that_this_version_does_not_have_is_named(dagmm: Path) -> None:
    alter(dagmm, lambda m: m["parameters"].update(momentum=0.9))
    assert "hyper-parameters that this version's DAGMM does not have ('momentum')" in refusal(dagmm)


def test_a_file_older_than_a_hyper_parameter_has_its_default(dagmm: Path) -> None:
    before = io.load(dagmm)
    alter(dagmm, lambda m: m["parameters"].pop("map_smoothing"))
    after = io.load(dagmm)
    assert after.map_smoothing == 0
    assert after.get_params() == before.get_params()


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_sizes": [10**9]},
        {"hidden_sizes": [10**9] * 64},
        {"hidden_sizes": [2**62] * 2},
        {"hidden_sizes": [1] * 65},
        {"hidden_sizes": [0]},
        {"hidden_sizes": [6, 3, 3]},
        {"estimation_sizes": [10**9] * 2},
        {"latent_dim": 10**9},
        {"latent_dim": 2**63 - 1},
        {"n_components": 10**9},
        {"n_components": 10**400},
        {"latent_dim": 10**6, "n_components": 10**6},
        {"learning_rate": 10**308 * 10},
    ],
    ids=range(13),
)
def test_absurd_sizes_take_no_memory(dagmm: Path, sizes: dict[str, Any]) -> None:
    """A file may ask for 10¹⁸ weights; they are only counted."""
    alter(dagmm, lambda m: m["parameters"].update(sizes))
    assert refusal(dagmm)


def test_categories_without_numbers_of_their_own_are_refused_before_they_are_built(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io.Schema, "from_json", lambda *_: pytest.fail("was built"))
    many = [str(i) for i in range(300_000)]
    alter(model, lambda m: m["schema"].update(columns=[{"name": name, "kind": "numeric"} for name in many]))
    assert "more columns and categories" in refusal(model)
    alter(model, lambda m: m.update(schema=fitted("pca").schema_.to_json()))
    alter(model, lambda m: m["schema"]["columns"][3].update(categories=many))
    assert "more columns and categories than its tensors have numbers" in refusal(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_tensor_of_the_scorer_may_be_infinite(model: Path, value: float) -> None:
    content = Content.of(model.read_bytes())
    floats = [name for name, array in content.arrays.items() if name.startswith("scorer/") and array.dtype.kind == "f"]
    assert len(floats) > 5
    for name in floats:
        arrays = content.arrays
        arrays[name].flat[-1] = value
        if name.endswith("whitening_constant") and value == -np.inf:
            continue
        model.write_bytes(content.packed(tensors=safetensors.numpy.save(arrays)))
        assert "finite" in refusal(model), name


def spoil(name: str, value: Any) -> Callable[[dict[str, np.ndarray[Any, Any]]], None]:
    def change(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        arrays[name] = np.asarray(value(arrays[name]))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("reference", lambda a: a[:-1]), "reference ranges do not fit"),
        (spoil("reference", lambda a: a.astype(np.float32)), "reference ranges do not fit"),
        (spoil("reference", lambda a: np.where(np.isnan(a), a, np.inf)), "reference range of column 'pressure'"),
        (spoil("reference", lambda a: np.c_[a[:, 0], np.full(len(a), np.nan)]), "reference range of column 'pressure'"),
        (spoil("reference", lambda a: np.where(np.arange(7)[:, None] == 3, [-1.0, 0.5], a)), "column 'valve'"),
        (spoil("reference", lambda a: np.where(np.arange(7)[:, None] == 3, [0.5, 0.5], a)), "column 'valve'"),
        (spoil("reference", lambda a: np.where(np.arange(7)[:, None] == 3, [99.0, 0.5], a)), "column 'valve'"),
        (spoil("reference", lambda a: np.where(np.arange(7)[:, None] == 5, [2.0, 0.5], a)), "column 'alarm'"),
        (spoil("reference", lambda a: np.where(np.arange(7)[:, None] == 5, [1.0, 1.5], a)), "column 'alarm'"),
        (spoil("calibration", lambda a: a[:0]), "not of the kind"),
        (spoil("calibration", lambda a: a[:, None]), "'calibration' is not a vector of finite numbers"),
        (spoil("calibration", lambda a: a.astype(np.int64)), "'calibration' is not a vector of finite numbers"),
        (spoil("training_scores", lambda a: a[:0]), "no training scores"),
        (spoil("training_scores", lambda a: a * np.nan), "'training_scores' is not a vector of finite numbers"),
        (lambda arrays: arrays.pop("reference"), "tensor 'reference' is missing or unknown"),
        (lambda arrays: arrays.update(extra=np.zeros(2)), "tensor 'extra' is missing or unknown"),
        (lambda arrays: arrays.update({"scorer/extra": np.zeros(2)}), "tensor 'extra' is missing or unknown"),
        (spoil("scorer/preprocess.scale", lambda a: -a), "preprocessing numbers are not usable"),
    ],
    ids=range(18),
)
def test_tensors_beside_the_network_are_checked(model: Path, change: Any, words: str) -> None:
    assert words in refusal(alter_tensors(model, change))


ANY_JSON: list[Any] = [None, True, 0, -1, 2.5, "x", [], [1], {}, {"a": 1}, [[None] * 9], "\x00", 10**30]


@pytest.mark.parametrize(
    "entry",
    [
        "method", "parameters", "schema", "preprocess", "feature_names_in", "planned", "calibration", "threshold",
        "training", "versions", "seed",
    ],
)  # fmt: skip
def test_an_entry_of_any_json_type_or_none_is_refused(model: Path, entry: str) -> None:
    original = Content.of(model.read_bytes())
    packed = []
    for value in ANY_JSON:
        content = copy.deepcopy(original)
        content.manifest[entry] = value
        harmless = (entry, value) in (("versions", {}), ("seed", 0), ("parameters", {}))
        packed += [] if harmless else [content.packed()]
    del original.manifest[entry]
    for data in [*packed, original.packed()]:
        model.write_bytes(data)
        assert refusal(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["feature_names_in"].reverse(), "feature names"),
        (lambda m: m["schema"].update(named=False), "feature names"),
        (lambda m: m["planned"].update(epochs=-1), "-1 stands where a count should"),
        (lambda m: m["planned"].update(epochs=True), "True stands where a count should"),
        (lambda m: m.update(calibration="none"), "not of the kind"),
        (lambda m: m.update(calibration="tenfold"), "not of the kind"),
        (lambda m: m["threshold"].update(value="1"), "stands where a finite number should"),
        (lambda m: m["threshold"].update(value=10**400), "stands where a finite number should"),
        (lambda m: m["threshold"].update(rule="magic:1"), "magic"),
        (lambda m: m["threshold"].update(rule="mad:3"), "do not belong to its rule"),
        (lambda m: m["threshold"].update(promise=None), "None stands where a text should"),
        (lambda m: m["threshold"].update(details={}), "do not belong to its rule"),
        (lambda m: m["threshold"]["details"].update(rows=[1]), "stands where a finite number should"),
        (lambda m: m["threshold"]["details"].update(level=0), "do not belong to its rule"),
        (lambda m: m["threshold"]["details"].update({str(i): i for i in range(101)}), "more than 100 figures"),
        (lambda m: m["training"].update(rows="many"), "'many' stands where a count should"),
        (lambda m: m["training"].update(seconds=None), "None stands where a finite number should"),
        (lambda m: m["training"].update(history={}), "history"),
        (lambda m: m["training"].update(history=[1]), "history"),
        (lambda m: m["training"].update(best_epoch={"joint": "last"}), "'last' stands where a count should"),
        (lambda m: m["training"].pop("steps"), "entry 'steps'"),
        (lambda m: m["versions"].update(torch=2), "2 stands where a text should"),
        (lambda m: m["parameters"].update(device=None), "device"),
        (lambda m: m["parameters"].update(scaling="robust"), "scaling must be one of"),
        (lambda m: m["preprocess"].update(missing=[]), "tensor"),
        (lambda m: m["preprocess"].update(missing=[99]), "preprocessing plan"),
        (lambda m: m["schema"]["columns"][3].update(categories=["a"]), "tensor"),
    ],
    ids=range(27),
)
def test_entries_that_do_not_fit_are_named(dagmm: Path, change: Any, words: str) -> None:
    assert words in refusal(alter(dagmm, change))


@pytest.mark.parametrize("key", DETECTORS)
def test_info_refuses_what_it_would_show(key: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    offnormal.save(fitted(key), path)
    alter(path, lambda m: m["training"].update(rows=None))
    with pytest.raises(ModelFileError, match="None stands where a count should"):
        io.info(path)


def attempts(key: str, count: int, seed: int, tmp_path: Path) -> dict[str, Any]:
    """Try `count` altered files in a process of its own, which a crash would end."""
    model, rows, folder = tmp_path / "model.offnormal", tmp_path / "rows.parquet", tmp_path / "altered"
    folder.mkdir()
    offnormal.save(fitted(key), model)
    pq.write_table(QUERY, rows)
    command = [sys.executable, "-W", "error", str(HERE / "attempts.py"), model, rows, folder, str(count), str(seed)]
    finished = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, Any] = json.loads(finished.stdout)
    assert found["wrong"] == []
    assert found["left"] == []
    assert sum(found["outcomes"].values()) == count
    assert found["grown_kb"] < 300_000, "the bombs hold 256 MiB, and the sizes in the files gigabytes"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("key", DETECTORS)
def test_two_thousand_altered_files_give_the_same_scores_or_one_error(key: str, seed: int, tmp_path: Path) -> None:
    found = attempts(key, 500, seed, tmp_path)
    assert found["outcomes"]["refused"] > 350
    assert found["outcomes"]["same scores"] > 10, "some alterations do not matter: a version, a history"
