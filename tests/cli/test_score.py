from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow.parquet
import pytest

import offnormal
from offnormal.errors import NotSupported
from offnormal.methods.pca import PCAReconstruction

RESULTS = ["number", "row", "anomaly_score", "p_value", "is_anomaly", "reasons"]


def table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


@pytest.fixture(scope="module")
def scored(run, model, data, folder):
    target = folder / "scores.csv"
    result = run("score", model, data, "-o", target)
    assert result.exit_code == 0, result.output
    return result, table(target.read_text())


def test_one_row_per_row_in_order_with_the_ids_first(scored, lines):
    _, rows = scored
    assert list(rows[0]) == RESULTS
    assert [row["number"] for row in rows] == [line[0] for line in lines]
    assert [row["row"] for row in rows] == [str(i) for i in range(len(lines))]


def test_scores_are_those_of_the_detector(scored, model, data):
    _, rows = scored
    detector, frame = offnormal.load(model), offnormal.read_table(data, text_columns=["number"])
    assert np.array_equal([float(row["anomaly_score"]) for row in rows], detector.anomaly_score(frame))
    assert np.array_equal([float(row["p_value"]) for row in rows], detector.p_value(frame))
    assert [row["is_anomaly"] for row in rows] == ["true" if p == -1 else "false" for p in detector.predict(frame)]


def test_the_summary_says_how_many_and_where(scored, folder):
    result, rows = scored
    flagged = sum(row["is_anomaly"] == "true" for row in rows)
    assert flagged >= 20
    assert f"{flagged} of 400 rows flagged" in result.stdout
    assert str(folder / "scores.csv") in result.stdout


def test_reasons_for_flagged_rows_and_the_hundred_most_anomalous(scored):
    _, rows = scored
    with_reasons = [i for i, row in enumerate(rows) if row["reasons"]]
    highest = sorted(range(400), key=lambda i: -float(rows[i]["anomaly_score"]))[:100]
    assert set(with_reasons) == set(highest)
    assert "usually" in rows[-1]["reasons"]


@pytest.mark.parametrize(("which", "count"), [("all", 400), ("none", 0)])
def test_reasons_for_all_or_none(run, model, data, which, count):
    result = run("score", model, data, "-o", "-", "-q", "--reasons", which, "--top", 1)
    rows = table(result.stdout)
    assert sum(bool(row["reasons"]) for row in rows) == count
    assert all(";" not in row["reasons"] for row in rows)


def test_false_discovery_rate_flags_as_the_detector_does(run, model, data):
    result = run("score", model, data, "-o", "-", "--fdr", "0.2")
    flags = offnormal.load(model).flag(offnormal.read_table(data), fdr=0.2)
    assert [row["is_anomaly"] == "true" for row in table(result.stdout)] == flags.tolist()
    assert "false discovery rate 0.2" in result.stderr


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("s.tsv", lambda path: table(path.read_text(), "\t")),
        ("s.parquet", lambda path: pyarrow.parquet.read_table(path).to_pylist()),
        ("s.jsonl", lambda path: [json.loads(line) for line in path.read_text().splitlines()]),
    ],
)
def test_formats_by_ending(run, model, data, tmp_path, name, read):
    assert run("score", model, data, "-o", tmp_path / name, "--reasons", "none", "-q").exit_code == 0
    rows = read(tmp_path / name)
    assert len(rows) == 400
    assert list(rows[0]) == RESULTS
    assert rows[7]["number"] == "00007"


def test_format_by_option(run, model, data, tmp_path):
    target = tmp_path / "scores"
    assert run("score", model, data, "-o", target, "--format", "jsonl", "-q").exit_code == 0
    assert json.loads(target.read_text().splitlines()[0])["row"] == 0


def test_json_counts(run, model, data, tmp_path):
    result = run("score", model, data, "-o", tmp_path / "s.csv", "--json", "-q")
    record = json.loads(result.stdout)
    assert record["rows"] == 400
    assert record["flagged"] >= 20
    assert result.stderr == ""


def test_columns_in_another_order_without_label_and_id(run, model, data, tmp_path, scored):
    rows = table(data.read_text())
    target = tmp_path / "other.csv"
    with target.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["country", "speed", "amount"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    result = run("score", model, target, "-o", "-", "-q")
    other = table(result.stdout)
    assert list(other[0]) == RESULTS[1:]
    assert [row["anomaly_score"] for row in other] == [row["anomaly_score"] for row in scored[1]]


def test_an_extra_column_is_one_warning(run, model, data, tmp_path):
    rows = data.read_text().splitlines()
    target = tmp_path / "more.csv"
    target.write_text("\n".join([rows[0] + ",new", *(row + ",1" for row in rows[1:])]))
    result = run("score", model, target, "-o", tmp_path / "s.csv")
    warned = [line for line in result.stderr.splitlines() if line.startswith("Warning:")]
    assert len(warned) == 1
    assert "new" in warned[0]


def test_data_without_header_row(run, model, headless, scored):
    names = "number,amount,speed,country,label"
    rows = table(run("score", model, headless, "-o", "-", "-q", "--names", names).stdout)
    assert rows == scored[1]
    forgotten = run("score", model, headless, "-o", "-", "-q")
    assert forgotten.exit_code == 2
    assert "--names" in forgotten.stderr


def test_an_id_named_like_a_result_is_renamed(run, data, tmp_path):
    text = data.read_text().replace("number,", "row,", 1)
    (tmp_path / "d.csv").write_text(text)
    target = tmp_path / "m.offnormal"
    roles = ("--id", "row", "--label", "label")
    assert run("fit", tmp_path / "d.csv", "-o", target, "-m", "pca", *roles, "-q").exit_code == 0
    rows = table(run("score", target, tmp_path / "d.csv", "-o", "-", "-q").stdout)
    assert list(rows[0])[:2] == ["row_id", "row"]


def test_a_model_without_calibration_has_no_p_values(run, data, tmp_path):
    target = tmp_path / "m.offnormal"
    arguments = ("--calibration", "none", "--id", "number", "--label", "label")
    assert run("fit", data, "-o", target, "-m", "pca", *arguments, "-q").exit_code == 0
    rows = table(run("score", target, data, "-o", "-", "-q").stdout)
    assert {row["p_value"] for row in rows} <= {"", "nan"}
    refused = run("score", target, data, "-o", "-", "-q", "--fdr", "0.1")
    assert refused.exit_code == 2
    assert "--fdr needs p-values" in refused.stderr


def test_a_method_without_reasons_leaves_them_empty(run, model, data, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise NotSupported("This method cannot attribute its score to columns.")

    monkeypatch.setattr(PCAReconstruction, "explain", refuse)
    result = run("score", model, data, "-o", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    assert "The reasons are left empty" in result.stderr
    assert {row["reasons"] for row in table((tmp_path / "s.csv").read_text())} == {""}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["DATA", "MODEL", "-o", "s.csv"], "swap them"),
        (["DATA", "DATA", "-o", "s.csv"], "MODEL must be a model file"),
        (["MODEL", "MODEL", "-o", "s.csv"], "DATA must be a table"),
        (["MODEL", "DATA", "-o", "s.xlsx"], "does not say its format"),
        (["MODEL", "DATA", "-o", "s.offnormal"], "must be a file for the scores"),
        (["MODEL", "DATA", "-o", "nowhere/s.csv"], "does not exist"),
        (["MODEL", "DATA", "-o", "DATA"], "overwrite an input"),
        (["MODEL", "DATA", "-o", "s.csv", "--format", "xml"], "--format must be one of"),
        (["MODEL", "DATA", "-o", "s.csv", "--fdr", "1.5"], "--fdr must be"),
        (["MODEL", "DATA", "-o", "-", "--json"], "both write to standard output"),
        (["MODEL", "none.csv", "-o", "s.csv"], "none.csv"),
        (["none.offnormal", "DATA", "-o", "s.csv"], "none.offnormal"),
    ],
)
def test_mistakes_are_told(run, model, data, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": model, "DATA": data}
    result = run("score", *(places.get(word, word) for word in arguments), "-q")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_one_sentence(run, data, tmp_path):
    (tmp_path / "m.offnormal").write_bytes(b"PK not a zip")
    result = run("score", tmp_path / "m.offnormal", data, "-o", tmp_path / "s.csv", "-q")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
