"""How adversarial games ended, against the raw records read by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from offnormal.bench import games
from offnormal.bench.adversarial_tables import ARRHYTHMIA_TABLE
from offnormal.bench.jobs import cells
from offnormal.bench.tables import TABLES

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def records(table: str, row: str) -> list[dict[str, Any]]:
    """Return the newest record of each data set and seed of a row, of today's definition."""
    today = {cell.fingerprint for cell in cells(TABLES[table], rows=[row])}
    lines = (RESULTS / f"{table}.jsonl").read_text(encoding="utf-8").splitlines()
    newest = {
        (r["data"], r["seed"]): r for r in map(json.loads, lines) if r["fingerprint"] in today and "error" not in r
    }
    return [newest[place] for place in sorted(newest)]


def test_spread_and_collapses_are_those_of_the_records() -> None:
    (table,) = (each for each in games.played(RESULTS) if each.table == ARRHYTHMIA_TABLE)
    by_name = {game.name: game for game in table.games}
    for name in ("ALAD, features", "ALAD, features, unscaled columns", "EGBAD, our defaults"):
        game, own = by_name[name], records(ARRHYTHMIA_TABLE.name, name)
        f1 = [record["f1"] for record in own]
        assert (game.runs, game.data, game.baseline) == (len(f1), ("arrhythmia",), False)
        assert game.f1 == pytest.approx(statistics.fmean(f1))
        assert game.f1_sd == pytest.approx(statistics.stdev(f1))
        assert (game.collapsed, game.watched) == (sum(record["collapsed"] for record in own), len(own))
        assert game.diversity == min(record["diversity"] for record in own)
    assert (by_name["k-NN"].baseline, by_name["k-NN"].watched, by_name["k-NN"].diversity) == (True, 0, None)
    assert "ALAD, untrained" not in by_name
    assert "ALAD, L1" not in by_name, "another score of the same training is no other game"


def test_a_row_of_defaults_stands_in_the_smaller_setting_alone() -> None:
    named = {each.table.name: {game.name for game in each.games} for each in games.played(RESULTS)}
    assert "f-AnoGAN" in named["adversarial_one_class_small"]
    assert "f-AnoGAN" not in named.get("adversarial_one_class", set())
    assert "GANomaly" in named["ganomaly"] & named["ganomaly_small"], "of other sizes"


def test_nine_kinds_are_held_against_one_over_the_digits_of_both() -> None:
    found = {each.name: each for each in games.wider(RESULTS)}
    ganomaly = found["GANomaly"]
    for table, mean in ((games.ONE_KIND, ganomaly.one), (games.NINE_KINDS, ganomaly.nine)):
        own = records(table, "GANomaly")
        digits = [[r["auroc"] for r in own if r["data"] == f"mnist_{digit}"] for digit in ganomaly.digits]
        assert mean == pytest.approx(statistics.fmean(map(statistics.fmean, digits)))
    assert not ganomaly.baseline
    assert found["k-NN"].baseline
    assert found["k-NN"].digits == ganomaly.digits


def test_baselines_stand_on_the_data_sets_of_the_games_beside_them() -> None:
    for each in games.played(RESULTS):
        theirs = {data for game in each.games if not game.baseline for data in game.data}
        assert all(set(game.data) <= theirs for game in each.games if game.baseline)


def test_nothing_measured_is_nothing_told(tmp_path: Path) -> None:
    assert games.played(tmp_path) == games.wider(tmp_path) == ()
