"""The field's standard claims: what records made by hand make of each, their figures, and the single cases."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from offnormal.bench import field_tables as tables
from offnormal.bench import findings, plots, records
from offnormal.bench.claim import Claim
from offnormal.bench.claims import claims
from offnormal.bench.field_tables import CODES, FIELD_TABLES, with_code
from offnormal.bench.jobs import cells
from offnormal.bench.lookup import Lookup
from offnormal.bench.table import Table
from offnormal.bench.verdicts import Outcome

ROOT = Path(__file__).parents[2]
HOLDS, FAILS, MISSING = Outcome.HOLDS, Outcome.FAILS, Outcome.MISSING


def keep(folder: Path, table: Table, row: str, auroc: float, *, protocol: str = "", **more: float) -> None:
    """Keep a record per data set and seed; the data sets lie .1 apart about the mean and the seeds .001."""
    protocol = protocol or table.protocols[0].name
    every = cells(table, rows=[row], protocols=[protocol])
    for number, cell in enumerate(every):
        apart = 0.1 * (number - (len(every) - 1) / 2)
        for seed in range(3):
            record = {
                "data": cell.data.name, "seed": seed, "fingerprint": cell.fingerprint, "parameters": cell.parameters,
                "auroc": auroc + apart + 0.001 * seed, "average_precision": 0.5, "f1": 0.5,
                "reconstruction_error": None, **{name: value + 0.001 * seed for name, value in more.items()},
            }  # fmt: skip
            records.append(records.path_of(folder, table.name), record)


def claim(folder: Path, key: str) -> Claim:
    (found,) = (each for each in claims(Lookup(folder)) if each.key == key)
    return found


def outcomes(found: Claim) -> dict[str, list[Outcome]]:
    by_left: dict[str, list[Outcome]] = {}
    for check in found.checks:
        by_left.setdefault(check.left.name, []).append(check.outcome)
    return by_left


@pytest.fixture
def widths(tmp_path: Path) -> Path:
    """Records of every width: AE best at 16 and bad at 256; the denoising one flat; the VAE's error falls a little."""
    errors = {"mean_normal_score": 20.0, "mean_anomaly_score": 40.0}
    for place, width in enumerate(CODES):
        shrunk = {name: value / (place + 1) for name, value in errors.items()}
        keep(tmp_path, tables.CODE_SIZE_TABLE, with_code("AE", width), 0.8 - 0.03 * abs(place - 2), **shrunk)
        keep(tmp_path, tables.CODE_SIZE_TABLE, with_code("denoising AE", width), 0.85)
        keep(tmp_path, tables.CODE_SIZE_TABLE, with_code("VAE by error", width), 0.85 - 0.01 * place)
    return tmp_path


def test_a_mean_over_the_digits_has_their_range_and_needs_all_of_them(tmp_path: Path) -> None:
    table, protocol = tables.CODE_SIZE_TABLE, tables.MULTIMODAL.name
    keep(tmp_path, table, "AE, code of 16", 0.7)
    number = Lookup(tmp_path).over_sets("AE, code of 16", protocol, "auroc", table)
    assert number.values == pytest.approx((0.7, 0.701, 0.702))
    assert (number.data, number.of) == ("mnist", 3)
    low, high = Lookup(tmp_path).range_over_sets("AE, code of 16", protocol, "auroc", table) or (0, 0)
    assert (low, high) == pytest.approx((0.601, 0.801))
    only = cells(table, rows=["AE, code of 4"])[0]
    record = {"seed": 0, "fingerprint": only.fingerprint, "parameters": only.parameters, "auroc": 0.9}
    records.append(records.path_of(tmp_path, table.name), record)
    assert Lookup(tmp_path).over_sets("AE, code of 4", protocol, "auroc", table).runs == 0
    assert Lookup(tmp_path).range_over_sets("AE, code of 4", protocol, "auroc", table) is None


def test_too_wide_a_code_is_held_against_the_best_narrower_one_and_its_errors(widths: Path) -> None:
    found = claim(widths, "bottleneck")
    against_best = [check for check in found.checks if check.left.figure == "auroc"]
    assert {check.right.name for check in against_best} == {"AE, code of 16"}
    assert found.outcome is HOLDS
    for seed in range(3):
        for each in cells(tables.CODE_SIZE_TABLE, rows=["AE, code of 256"]):
            record = {"seed": seed, "fingerprint": each.fingerprint, "parameters": each.parameters, "auroc": 0.95}
            records.append(records.path_of(widths, "code_size"), record)
    found = claim(widths, "bottleneck")
    assert outcomes(found)["AE, code of 256"] == [FAILS, MISSING, MISSING]  # the newest record counts, without errors
    assert outcomes(found)["AE, code of 64"] == [HOLDS, HOLDS, HOLDS]


def test_a_row_without_need_of_tuning_stays_near_its_best_and_above_the_plain_one(widths: Path) -> None:
    assert claim(widths, "bottleneck_noise").outcome is HOLDS
    found = outcomes(claim(widths, "bottleneck_vae"))
    assert found["VAE by error, code of 256"] == [FAILS, HOLDS]  # .04 below its best, .07 above the plain one
    assert found["VAE by ELBO, code of 256"] == [MISSING, MISSING]


@pytest.mark.parametrize(("one", "many", "expected"), [(0.9, 0.5, [HOLDS, HOLDS, HOLDS]),
                                                       (0.7, 0.65, [FAILS, FAILS, HOLDS])])  # fmt: skip
def test_the_density_of_the_code_works_above_a_bar_and_fails_below_another(
    tmp_path: Path, one: float, many: float, expected: list[Outcome]
) -> None:
    table = tables.LATENT_TABLE
    unimodal, multimodal = (protocol.name for protocol in table.protocols)
    keep(tmp_path, table, "AAE, p(z)", one, protocol=unimodal)
    keep(tmp_path, table, "AAE, p(z)", many, protocol=multimodal)
    keep(tmp_path, table, "AAE, error", 0.8, protocol=multimodal)
    found = outcomes(claim(tmp_path, "latent"))
    assert sorted(map(str, found["AAE, p(z)"])) == sorted(map(str, expected))
    assert found["VAE, KL"] == [MISSING] * 3
    shown = plots.every(Lookup(tmp_path))["latent_density"]
    assert shown[unimodal]["AAE, p(z)"] == pytest.approx([one + 0.001, one - 0.099, one + 0.101])


def test_the_cost_of_contamination_is_the_difference_from_clean_training(tmp_path: Path) -> None:
    table = tables.IMAGE_CONTAMINATION_TABLE
    clean, *_, ten, twenty = (protocol.name for protocol in table.protocols)
    for name, protocol, auroc in (("AE", clean, 0.9), ("AE", ten, 0.8), ("AE", twenty, 0.7), ("k-NN", clean, 0.8),
                                  ("k-NN", ten, 0.8), ("k-NN", twenty, 0.85)):  # fmt: skip
        keep(tmp_path, table, name, auroc, protocol=protocol)
    found = claim(tmp_path, "image_contamination")
    costs = {check.right.name: (check.difference, check.outcome) for check in found.checks if check.runs}
    assert costs["AE, 10 %"] == (pytest.approx(0.1), HOLDS)
    assert costs["AE, 20 %"] == (pytest.approx(0.2), HOLDS)
    assert costs["k-NN, 10 %"][1] is Outcome.SPREAD
    assert costs["k-NN, 20 %"][1] is FAILS
    points = plots.every(Lookup(tmp_path))["image_contamination"]["AE"]
    assert [point[:2] for point in points] == [[0, 0.901], [10, 0.801], [20, 0.701]]


def test_the_differences_are_compared_on_each_set_by_images_and_by_pixels(tmp_path: Path) -> None:
    table = tables.DIFFERENCES_TABLE
    keep(tmp_path, table, "AE, structural similarity", 0.7, pixel_auroc=0.9)
    keep(tmp_path, table, "AE, squared error", 0.8, pixel_auroc=0.8)
    found = claim(tmp_path, "differences")
    by_figure = {(c.left.data, c.left.figure): c.outcome for c in found.checks if c.right.name == "AE, squared error"}
    assert by_figure == {(data, figure): outcome for data in table.data
                         for figure, outcome in (("auroc", FAILS), ("pixel_auroc", HOLDS))}  # fmt: skip
    assert {check.outcome for check in found.checks if check.right.name == "AE, absolute error"} == {MISSING}
    shown = plots.every(Lookup(tmp_path))["differences"]["mvtec_screw_64"]
    assert shown["AE, squared error"]["pixel_auroc"] == [0.801, 0.001]


def test_the_parts_of_a_memory_by_detection_and_by_sparsity(tmp_path: Path) -> None:
    table = tables.MEMORY_TABLE
    keep(tmp_path, table, "MemAE", 0.9, largest_weight=0.5, slots_read=4)
    keep(tmp_path, table, "MemAE, without entropy", 0.8, largest_weight=0.6, slots_read=9)
    keep(tmp_path, table, "AE", 0.85)
    found = claim(tmp_path, "memory")
    measured = {(c.right.name, c.right.figure): c.outcome for c in found.checks if c.runs}
    assert measured == {("AE", "auroc"): HOLDS, ("MemAE, without entropy", "auroc"): HOLDS,
                        ("MemAE, without entropy", "largest_weight"): FAILS}  # fmt: skip
    shown = plots.every(Lookup(tmp_path))["memae_ablation"]
    assert set(shown["auroc"]) == {"AE", "MemAE", "MemAE, without entropy"}
    assert set(shown["slots_read"]) == {"MemAE", "MemAE, without entropy"}


def test_the_tables_are_of_three_digits_or_two_sets_of_parts_with_three_seeds() -> None:
    for table in FIELD_TABLES:
        assert table.seeds == 3  # fewer decide nothing
        assert len(table.data) <= 3
        untrained = [contender for contender in table.contenders if contender.untrained_of]
        assert untrained
        assert all(contender.parameters["epochs"] == 0 for contender in untrained)


def test_a_case_is_shown_once_it_is_drawn(tmp_path: Path) -> None:
    assert "A case." not in findings.page(tmp_path, figures=tmp_path)
    for name in plots.CASES:
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    for language, word in (("en", "**A case.**"), ("ko", "**사례.**")):
        text = findings.page(tmp_path, language, tmp_path)
        assert text.count(word) == 2
        assert all(f"](figures/{name}.svg)" in text for name in plots.CASES)


# --- the scripts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cases")


def test_the_pair_shares_a_code_and_differs_in_its_residual(cases: ModuleType) -> None:
    draw = np.random.default_rng(0)
    normal, digits = draw.normal(size=(200, 2)), np.repeat([3, 5], 100)
    errors = np.linspace(1, 2, 200)
    near, far = normal[7] + 1e-4, np.array([50.0, 50.0])
    found = cases.pair((normal, np.stack([far, near, near])), (errors, np.array([99.0, 9.0, 1.5])), digits)
    # The first has a code of its own, the third an ordinary residual.
    assert (found.normal, found.odd) == (7, 1)
    assert found.distance == pytest.approx(2**0.5 * 1e-4)
    assert found.distance < found.usual
    assert found.residuals == (errors[7], 9.0)
    assert found.limit == np.quantile(errors, 0.99)
    with pytest.raises(SystemExit):
        cases.pair((normal, far[None]), (errors, np.array([99.0])), digits)


def test_the_case_of_the_memory_is_flagged_by_the_memory_alone(cases: ModuleType) -> None:
    errors = {"AE": np.array([9.0, 1.0, 0.1, 2.0]), "MemAE": np.array([99.0, 8.0, 3.0, 9.0])}
    assert cases.clearest(errors, {"AE": 5.0, "MemAE": 5.0}) == 1
    with pytest.raises(SystemExit):
        cases.clearest(errors, {"AE": 0.01, "MemAE": 5.0})


def test_every_figure_can_be_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    figures: Any = importlib.import_module("figures")
    assert set(figures.DRAW) == set(plots.every(Lookup(tmp_path)))
