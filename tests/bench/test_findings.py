"""The page of findings: the rule of its verdicts, what it says of records made by hand, and that docs has today's."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offnormal.bench import findings, plots, records
from offnormal.bench.claims import Claim, claims
from offnormal.bench.jobs import Cell, cells
from offnormal.bench.lookup import Lookup, best_of
from offnormal.bench.tables import ADBENCH_TABLE, DAGMM_TABLE, RIVALS_TABLE, Table
from offnormal.bench.verdicts import Check, Number, Outcome, Relation, together
from offnormal.errors import UnknownName

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ABOVE, BELOW, NEAR = Relation


def ours(mean: float, sd: float = 0.0, runs: int = 4, of: int = 4) -> Number:
    return Number("row", runs=runs, of=of, mean=mean, sd=sd)


def published(mean: float) -> Number:
    return Number("the paper", mean=mean, source="P")


def keep(folder: Path, cell: Cell, seed: int, **changed: Any) -> None:
    record = {
        "data": cell.data.name, "seed": seed, "fingerprint": cell.fingerprint, "parameters": cell.parameters,
        "f1": 0.5, "auroc": 0.9, "average_precision": 0.5, "reconstruction_error": None, **changed,
    }  # fmt: skip
    records.append(records.path_of(folder, cell.table), record)


def cell(row: str, data: str = "kddcup", table: Table = DAGMM_TABLE) -> Cell:
    (found,) = cells(table, data=[data], rows=[row])
    return found


def section(text: str, heading: str) -> str:
    return text.split(f"{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]


def claim(folder: Path, key: str) -> Claim:
    (found,) = (each for each in claims(Lookup(folder)) if each.key == key)
    return found


# With sd .2 and .2 over four runs each, twice the standard errors in quadrature are 2 √(.01 + .01) = .2828.
@pytest.mark.parametrize(
    ("difference", "relation", "outcome"),
    [
        (0.29, ABOVE, Outcome.HOLDS),
        (0.28, ABOVE, Outcome.SPREAD),
        (-0.28, ABOVE, Outcome.SPREAD),
        (-0.29, ABOVE, Outcome.FAILS),
        (-0.29, BELOW, Outcome.HOLDS),
        (0.28, BELOW, Outcome.SPREAD),
        (0.29, BELOW, Outcome.FAILS),
    ],
)
def test_above_and_below_hold_beyond_twice_the_standard_errors_in_quadrature(
    difference: float, relation: Relation, outcome: Outcome
) -> None:
    check = Check(ours(0.5 + difference, 0.2), relation, ours(0.5, 0.2))
    assert check.noise == pytest.approx(2 * math.sqrt(0.02))
    assert check.outcome is outcome
    assert check.in_deviations == pytest.approx(difference / math.sqrt(0.08))


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [
        (0.5, Outcome.HOLDS),
        (0.54, Outcome.HOLDS),
        (0.57, Outcome.SPREAD),
        (0.63, Outcome.SPREAD),
        (0.65, Outcome.FAILS),
    ],
)
def test_near_holds_if_the_noise_fits_in_the_margin_too(mean: float, outcome: Outcome) -> None:
    assert Check(ours(mean, 0.04), NEAR, published(0.5), margin=0.1).outcome is outcome  # the noise is .04


def test_a_published_number_adds_no_noise_and_equal_numbers_differ_in_nothing() -> None:
    assert Check(ours(0.56, 0.05), ABOVE, published(0.5)).noise == pytest.approx(0.05)
    assert Check(ours(0.5), ABOVE, published(0.5)).outcome is Outcome.SPREAD


@pytest.mark.parametrize("runs", [0, 1])
def test_fewer_than_two_runs_decide_nothing(runs: int) -> None:
    few = ours(0.9, runs=runs) if runs else Number("row", of=4)
    for check in (Check(few, ABOVE, ours(0.1)), Check(ours(0.1), BELOW, few), Check(few, NEAR, published(0.9), 1.0)):
        assert check.outcome is Outcome.MISSING
        assert (check.lacking.runs, check.lacking.of) == (runs, 4)


def test_a_claim_is_as_its_checks_or_mixed() -> None:
    holds, fails = Check(ours(0.9), ABOVE, ours(0.1)), Check(ours(0.1), ABOVE, ours(0.9))
    assert together((holds, holds)) == (Outcome.HOLDS, {Outcome.HOLDS: 2})
    missing = Check(ours(0.9, runs=1), ABOVE, ours(0.1))
    assert together((holds, missing)) == (Outcome.HOLDS, {Outcome.HOLDS: 1, Outcome.MISSING: 1})
    assert together((missing,)) == (Outcome.MISSING, {Outcome.MISSING: 1})
    assert together((fails, holds)) == (Outcome.MIXED, {Outcome.HOLDS: 1, Outcome.FAILS: 1})


def test_without_records_everything_is_not_measured_and_there_are_no_figures(tmp_path: Path) -> None:
    every = claims(Lookup(tmp_path))
    for each in every:
        assert each.checks, each.key
        assert each.outcome is Outcome.MISSING
    assert findings.page(tmp_path, "ko").count("**판정: ") == len(every)
    text = findings.page(tmp_path)
    assert text.count("**Verdict: ") == len(every)
    assert "not measured yet (0 of 20 runs)" in text
    assert "figures/" not in text
    assert "nan" not in text
    assert not any(plots.every(Lookup(tmp_path)).values())


def test_numbers_and_verdicts_follow_the_records(tmp_path: Path) -> None:
    for seed in range(3):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.95 + 0.001 * seed)
        keep(tmp_path, cell("DAGMM", "thyroid"), seed, f1=0.40 + 0.001 * seed)
        keep(tmp_path, cell("DAGMM, untrained"), seed, f1=0.94)
    keep(tmp_path, cell("DAGMM", "arrhythmia"), 0)
    text = findings.page(tmp_path)
    first = section(text, "## 1. DAGMM reaches its published F1")
    assert "| kddcup | DAGMM | 0.9369 [P] | 0.951 ± 0.001 (3/20) |" in first
    assert "| DAGMM 0.951 ± 0.001 (3/20) | above | the paper's 0.9369 [P] | +0.014 | 0.001 | holds, so far |" in first
    assert (
        "| DAGMM 0.401 ± 0.001 (3/20) | above | the paper's 0.4782 [P] | -0.077 | 0.001 | does not hold, so far |"
        in first
    )
    assert "not measured yet (1 of 20 runs)" in first
    assert "**Verdict: mixed, so far.** holds: 1, does not hold: 1, not measured yet: 6 (comparisons: 8)" in first
    assert "kddcup, DAGMM: 0.0010 (3/20), yes" in first
    second = section(text, "## 2. An F1 of .9 on KDDCUP is evidence of learning")
    assert "| DAGMM, untrained 0.940 ± 0.000 (3/20) | below | a bar of 0.9 | +0.040 | 0.000 | does not hold" in second
    assert "| kddcup | F1 | 0.940 ± 0.000 (3/20) |" in second
    assert "k-NN;" in second
    # Worse runs turn the verdict.
    for seed in range(3, 20):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.9)
    first = section(findings.page(tmp_path), "## 1. DAGMM reaches its published F1")
    assert re.search(r"DAGMM 0\.908 ± 0\.\d+ \(20\) \| above .* \| does not hold \|", first)


def test_the_reconstruction_error_is_held_against_the_paper(tmp_path: Path) -> None:
    for seed in range(5):
        keep(tmp_path, cell("DAGMM"), seed, reconstruction_error=0.27)
        keep(tmp_path, cell("E2E-AE", table=RIVALS_TABLE), seed, reconstruction_error=0.25 + 0.001 * seed)
    lower, joint, pretrained, alone = claim(tmp_path, "error").checks
    assert lower.outcome is Outcome.FAILS  # trained alone it rebuilds better
    assert joint.outcome is Outcome.HOLDS
    assert pretrained.outcome is Outcome.MISSING
    assert alone.outcome is Outcome.FAILS
    assert "rebuilds better" in section(
        findings.page(tmp_path), "## 3. Joint training lowers the reconstruction error from 1.13 to .26"
    )


def test_a_mean_over_tables_needs_every_table_of_a_seed(tmp_path: Path) -> None:
    for number, each in enumerate(cells(ADBENCH_TABLE, rows=["k-NN"], protocols=["clean_half"])):
        keep(tmp_path, each, 0, auroc=0.5 + number / 100)
        keep(tmp_path, each, 1, auroc=0.6 + number / 100)
        if number:
            keep(tmp_path, each, 2, auroc=1.0)
    found = Lookup(tmp_path).over_sets("k-NN", "clean_half", "auroc")
    assert (found.runs, found.of) == (2, ADBENCH_TABLE.seeds)
    assert found.values == pytest.approx((0.56, 0.66))  # 0 to 12 hundredths: .06 in the mean
    assert Lookup(tmp_path).over_sets("k-NN", "mixed_half", "auroc").runs == 0
    assert Lookup(tmp_path).over_sets("not there yet", "mixed_half", "auroc").runs == 0


def test_auto_is_compared_with_the_best_of_the_others_once_all_are_measured(tmp_path: Path) -> None:
    means = {"auto": 0.97, "two-step": 0.96, "auto, untrained": 0.99}
    names = [contender.name for contender in ADBENCH_TABLE.contenders]
    for name in names:
        for each in cells(ADBENCH_TABLE, rows=[name], protocols=["clean_half"]):
            for seed in range(2):
                keep(tmp_path, each, seed, auroc=means.get(name, 0.9) + 0.001 * seed)
        check = claim(tmp_path, "auto").checks[0] if name in names[-2:] else None
        if check and name != names[-1]:
            assert (check.right.name, check.outcome) == ("the best comparator", Outcome.MISSING)
    assert check
    assert (check.left.name, check.right.name) == ("auto", "two-step")
    assert check.outcome is Outcome.HOLDS
    assert not check.complete
    assert check.in_deviations == pytest.approx(10)  # .01 over .001: both deviations are .000707


def test_the_best_is_provisional_while_runs_of_another_are_missing() -> None:
    best, other = replace(ours(0.9), name="best"), replace(ours(0.5, runs=3), name="other")
    assert best_of([other, best], "").name == "best"
    assert not best_of([other, best], "").complete
    assert best_of([replace(other, runs=4), best], "").complete


def test_a_row_that_is_not_in_the_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="k-NN"):
        Lookup(tmp_path).number(DAGMM_TABLE, "kNN", "kddcup")


def test_both_languages_have_the_same_numbers_and_figures(tmp_path: Path) -> None:
    for seed in range(2):
        keep(tmp_path, cell("DAGMM"), seed)
    english, korean = (findings.page(tmp_path, language) for language in findings.PAGES)
    for pattern in (r"\d\.\d{3} ± \d\.\d{3} \(\d+(?:/\d+)?\)", r"figures/\w+\.svg", r"\[[PR]\]", r"^#+", r"^\| .* \|$"):
        flags = re.MULTILINE
        if pattern.endswith("$"):  # rows of tables, but for the list in English alone
            english = english.split("### Tried and left")[0]
        assert len(re.findall(pattern, english, flags)) == len(re.findall(pattern, korean, flags)), pattern
    assert english.count("figures/") == 1


def test_the_page_depends_on_the_records_alone(tmp_path: Path) -> None:
    for seed in (1, 0):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.1 * seed)
    first = findings.page(tmp_path)
    kept = records.path_of(tmp_path, "dagmm")
    kept.write_text("".join(reversed(kept.read_text().splitlines(keepends=True))))
    assert findings.page(tmp_path) == first


def test_what_was_tried_is_said_in_full() -> None:
    assert findings.tried()
    for each in findings.tried():
        assert set(each) == {"what", "measured", "verdict"}
        assert "|" not in json.dumps(each)


def test_a_figure_knows_what_it_was_drawn_from(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0, f1=0.25)
    shown = plots.every(Lookup(tmp_path))
    assert shown["f1_by_seed"]["kddcup"]["strips"]["DAGMM"] == [0.25]
    assert shown["f1_by_seed"]["kddcup"]["published"] == 0.9369
    drawn = tmp_path / "f1_by_seed.svg"
    drawn.write_text(f"<dc:description>records {plots.digest(shown['f1_by_seed'])}</dc:description>")
    assert plots.digest_in(drawn) == plots.digest(shown["f1_by_seed"])
    keep(tmp_path, cell("DAGMM"), 1, f1=0.25)
    assert plots.digest_in(drawn) != plots.digest(plots.every(Lookup(tmp_path))["f1_by_seed"])
    assert plots.digest_in(tmp_path / "none.svg") is None


@pytest.mark.parametrize("language", findings.PAGES)
def test_the_page_in_docs_is_what_the_raw_results_give(language: str) -> None:
    path = ROOT / "docs" / findings.PAGES[language]
    assert path.read_text(encoding="utf-8") == findings.page(RESULTS, language), "run offnormal bench page"


def test_the_figures_in_docs_are_of_the_raw_results() -> None:
    for name, plot in plots.every(Lookup(RESULTS)).items():
        found = plots.digest_in(ROOT / "docs" / "figures" / f"{name}.svg")
        assert found == (plots.digest(plot) if plot else None), f"{name}: run python benchmarks/figures.py"
