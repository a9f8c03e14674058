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
from offnormal.bench.claim import Claim
from offnormal.bench.claims import claims
from offnormal.bench.jobs import Cell, cells
from offnormal.bench.lookup import Lookup, best_of
from offnormal.bench.overview import standings
from offnormal.bench.page import is_ours
from offnormal.bench.table import Table
from offnormal.bench.tables import ADBENCH_TABLE, DAGMM_TABLE, RIVALS_TABLE
from offnormal.bench.verdicts import Check, Number, Outcome, Relation, together
from offnormal.errors import UnknownName

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ABOVE, BELOW, NEAR = Relation
FIRST = "## 1. Claim: DAGMM reaches its published F1"
SECOND = "## 2. Claim: an F1 of .9 on KDDCUP is evidence of learning"


def ours(*values: float, of: int = 4, first: int = 0) -> Number:
    return Number("row", of=of).over(dict(enumerate(values, first)))


def spread(mean: float, sd: float) -> Number:
    """Return four runs: the sample deviation of −1, −1, 1, 1 is √(4/3)."""
    return ours(*(mean + sd * math.sqrt(3 / 4) * sign for sign in (-1, -1, 1, 1)))


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


# A published number on one side: with sd .2 over four runs, twice the standard error is .2.
@pytest.mark.parametrize(
    ("difference", "relation", "outcome"),
    [
        (0.21, ABOVE, Outcome.HOLDS),
        (0.19, ABOVE, Outcome.SPREAD),
        (-0.19, ABOVE, Outcome.SPREAD),
        (-0.21, ABOVE, Outcome.FAILS),
        (-0.21, BELOW, Outcome.HOLDS),
        (0.19, BELOW, Outcome.SPREAD),
        (0.21, BELOW, Outcome.FAILS),
    ],
)
def test_above_and_below_hold_beyond_twice_the_standard_error(
    difference: float, relation: Relation, outcome: Outcome
) -> None:
    check = Check(spread(0.5 + difference, 0.2), relation, published(0.5))
    assert check.noise == pytest.approx(0.2)
    assert check.difference == pytest.approx(difference)
    assert check.outcome is outcome


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
    assert Check(spread(mean, 0.04), NEAR, published(0.5), margin=0.1).outcome is outcome  # the noise is .04


def test_two_rows_are_compared_by_the_differences_over_their_common_seeds() -> None:
    # Seeds 1, 2, 3 are common: differences .1, .2, .3, sd .1. Seed 0 of the right row is far off and does not count.
    left, right = ours(0.6, 0.8, 0.4, first=1), ours(9.0, 0.5, 0.6, 0.1)
    check = Check(left, ABOVE, right)
    assert (check.runs, check.pair[1].seeds) == (3, (1, 2, 3))
    assert check.difference == pytest.approx(0.2)
    assert check.noise == pytest.approx(2 * 0.1 / math.sqrt(3))
    assert check.outcome is Outcome.HOLDS
    assert not check.complete
    assert check.in_deviations == pytest.approx(0.2 / math.hypot(0.2, math.sqrt(0.07)))  # sd of .6 .8 .4 and .5 .6 .1
    # By the means of all runs it would have come out the other way.
    assert left.mean < right.mean


def test_equal_numbers_differ_in_nothing() -> None:
    assert Check(ours(0.5, 0.5, 0.5), ABOVE, published(0.5)).outcome is Outcome.SPREAD
    assert Check(ours(0.5, 0.6, 0.7), BELOW, ours(0.5, 0.6, 0.7)).outcome is Outcome.SPREAD


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_fewer_than_three_common_runs_decide_nothing(runs: int) -> None:
    few = ours(*[0.9] * runs)
    many = ours(0.1, 0.1, 0.1, 0.1)
    apart = ours(*[0.1] * 4, first=4 - runs)  # enough runs, but of other seeds
    checks = (Check(few, ABOVE, many), Check(many, BELOW, few), Check(few, NEAR, published(0.9), 1.0))
    for check in (*checks, Check(ours(*[0.9] * 4), ABOVE, apart)):
        assert check.outcome is Outcome.MISSING
        assert (check.runs, check.of) == (runs, 4)


def test_a_claim_is_as_its_checks_or_mixed() -> None:
    high, low = ours(0.9, 0.9, 0.9), ours(0.1, 0.1, 0.1)
    holds, fails = Check(high, ABOVE, low), Check(low, ABOVE, high)
    assert together((holds, holds)) == (Outcome.HOLDS, {Outcome.HOLDS: 2})
    missing = Check(ours(0.9), ABOVE, low)
    assert together((holds, missing)) == (Outcome.HOLDS, {Outcome.HOLDS: 1, Outcome.MISSING: 1})
    assert together((missing,)) == (Outcome.MISSING, {Outcome.MISSING: 1})
    assert together((fails, holds)) == (Outcome.MIXED, {Outcome.HOLDS: 1, Outcome.FAILS: 1})


def test_a_claim_waits_for_half_of_its_comparisons_unless_one_refutes_it() -> None:
    high, low = ours(0.9, 0.9, 0.9), ours(0.1, 0.1, 0.1)
    holds, missing = Check(high, ABOVE, low), Check(ours(0.9), ABOVE, low)
    half, less = Claim("k", (), (holds, missing), ()), Claim("k", (), (holds, missing, missing), ())
    assert (half.outcome, half.so_far) == (Outcome.HOLDS, Outcome.HOLDS)
    assert (less.outcome, less.so_far) == (Outcome.MISSING, Outcome.HOLDS)
    assert replace(less, refuted=True).outcome is Outcome.FAILS


def test_without_records_everything_is_not_measured_and_there_are_no_figures(tmp_path: Path) -> None:
    every = claims(Lookup(tmp_path))
    for each in every:
        assert each.checks, each.key
        assert each.outcome is Outcome.MISSING
    assert findings.page(tmp_path, "ko").count("**판정: ") == len(every)
    text = findings.page(tmp_path, figures=tmp_path)
    assert text.count("**Verdict: ") == len(every)
    assert "Not measured yet: 8 of 8 rows." in text
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
    first = section(text, FIRST)
    assert "| kddcup | DAGMM | 0.9369 [P] | 0.951 ± 0.001 (3/20) |" in first
    assert "| DAGMM 0.951 ± 0.001 | above | the paper's 0.9369 [P] | 3/20 | +0.014 | 0.001 | holds, so far |" in first
    assert (
        "| DAGMM 0.401 ± 0.001 | above | the paper's 0.4782 [P] | 3/20 | -0.077 | 0.001 | does not hold, so far |"
        in first
    )
    assert "**Verdict: not measured yet (so far: mixed).** holds: 1, does not hold: 1, not measured yet: 6" in first
    assert "at most 0.02? kddcup, DAGMM: 0.0010 (3/20), yes" in first
    second = section(text, SECOND)
    assert "| DAGMM, untrained 0.940 ± 0.000 | below | a bar of 0.9 | 3/20 | +0.040 | 0.000 | does not hold" in second
    assert "**Verdict: does not hold, so far.**" in second
    assert "DAGMM, untrained: 3 of 3 runs" in second
    assert f"[{SECOND[3:]}](#2-claim-an-f1-of-9-on-kddcup-is-evidence-of-learning): **does not hold, so far**" in text
    baselines = section(text, "## Trivial baselines and untrained networks")
    assert "| kddcup | F1 | 0.940 ± 0.000 (3/20) |" in baselines
    # Worse runs turn the verdict.
    for seed in range(3, 20):
        keep(tmp_path, cell("DAGMM"), seed, f1=0.9)
    first = section(findings.page(tmp_path), FIRST)
    assert re.search(r"DAGMM 0\.908 ± 0\.\d+ \| above .* \| does not hold \|", first)


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
        findings.page(tmp_path), "## 3. Claim: joint training lowers the reconstruction error from 1.13 to .26"
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


def test_auto_is_compared_with_each_of_the_others_as_soon_as_both_have_three_seeds(tmp_path: Path) -> None:
    for name, mean, seeds in (("auto", 0.97, (0, 1, 2)), ("two-step", 0.96, (1, 0, 2)), ("k-NN", 0.98, (0, 1, 2)),
                              ("OC-SVM", 0.5, (0, 1, 3))):  # fmt: skip
        for each in cells(ADBENCH_TABLE, rows=[name], protocols=["clean_half"]):
            for seed in seeds:
                keep(tmp_path, each, seed, auroc=mean + 0.001 * seed)
    found = claim(tmp_path, "auto")
    checks = {c.right.name: c for c in found.checks if (c.left.protocol, c.left.figure) == ("clean_half", "auroc")}
    assert checks["two-step"].outcome is Outcome.HOLDS
    assert checks["k-NN"].outcome is Outcome.FAILS
    assert checks["OC-SVM"].outcome is Outcome.MISSING
    assert checks["two-step"].in_deviations == pytest.approx(0.01 / math.hypot(0.001, 0.001))
    assert found.outcome is Outcome.FAILS  # one comparator is better
    (standing,) = (s for s in standings(found) if (s.protocol, s.figure) == ("clean_half", "auroc"))
    assert standing.names[Outcome.HOLDS] == ["two-step"]
    assert standing.names[Outcome.FAILS] == ["k-NN"]
    assert "OC-SVM" in standing.names[Outcome.MISSING]
    assert "`auto` is better than two-step. `auto` is worse than k-NN. " in findings.page(tmp_path)


def test_the_best_is_chosen_over_the_seeds_that_all_have_and_is_provisional_while_runs_are_missing() -> None:
    best, other = replace(ours(0.5, 0.9, 0.9, 0.9), name="best"), replace(ours(0.8, 0.8, 0.8, first=1), name="other")
    assert best.mean < other.mean
    assert best_of([other, best], "").name == "best"
    assert best_of([other, best], "").runs == 4
    assert not Check(spread(0.5, 0.1), BELOW, best_of([other, best], "")).complete
    assert Check(spread(0.5, 0.1), BELOW, best_of([best], "")).complete
    unmeasured = ours()
    assert best_of([unmeasured, other], "").name == "other"
    assert best_of([unmeasured, ours(0.1)], "nobody").name == "nobody"


@pytest.mark.parametrize(("baseline", "outcome"), [(0.91, Outcome.FAILS), (0.8, Outcome.HOLDS)])
def test_a_trivial_baseline_at_the_bar_refutes_that_f1_is_evidence_of_learning(
    tmp_path: Path, baseline: float, outcome: Outcome
) -> None:
    for seed in range(3):
        for name, f1, auroc in (("DAGMM", 0.95, 0.99), ("DAGMM, untrained", 0.6, 0.8), ("OC-SVM", 0.1, 0.9),
                                ("isolation forest", baseline, 0.9)):  # fmt: skip
            keep(tmp_path, cell(name), seed, f1=f1 + 0.001 * seed, auroc=auroc)
    found = claim(tmp_path, "learning")
    assert found.checks[0].left.name == "isolation forest"
    assert found.outcome is outcome


def test_the_page_begins_with_the_paper_beside_the_best_trivial_baseline(tmp_path: Path) -> None:
    for seed in range(3):
        for name, f1 in (("DAGMM", 0.5), ("isolation forest", 0.69), ("k-NN", 0.6)):
            keep(tmp_path, cell(name, "thyroid"), seed, f1=f1 + 0.01 * seed, auroc=f1, average_precision=1 - f1)
    text = findings.page(tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| thyroid"))
    cells_of_row = [each.strip() for each in row.strip("|").split("|")]
    assert cells_of_row[1:3] == ["0.4782 [P]", "0.510 ± 0.010 (3/20)"]
    assert cells_of_row[6:] == ["isolation forest 0.700 ± 0.010 (3/5)", "holds, so far", "not measured yet",
                                "no / no / yes", "– / – / –"]  # fmt: skip
    assert (
        "- thyroid: the best trivial baseline, isolation forest with 0.700 ± 0.010 (3/5), is above the published "
        "0.4782 [P]. Against that baseline, in F1: DAGMM: below it (-0.190); DAGMM, our defaults: not measured yet."
    ) in section(text, FIRST)


@pytest.mark.parametrize("language", findings.PAGES)
def test_every_link_within_the_page_has_its_heading(tmp_path: Path, language: str) -> None:
    text = findings.page(tmp_path, language)
    # GitHub's rule: lower case, punctuation dropped, a space is a hyphen.
    slugs = {re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
             for line in text.splitlines() if line.startswith("#")}  # fmt: skip
    links = re.findall(r"\]\(#([^)]*(?:\([^)]*\))?[^)]*)\)", text)
    assert len(links) >= len(claims(Lookup(tmp_path)))
    assert set(links) <= slugs


def test_the_page_names_the_folder_that_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("mine") / "raw", tmp_path / "mine" / "raw"):
        assert "raw records in `mine/raw`" in findings.page(folder)
    assert "benchmarks/results" not in findings.page(Path("mine"), "ko")


def test_a_figure_is_shown_if_it_is_there_and_of_these_records(tmp_path: Path) -> None:
    keep(tmp_path, cell("DAGMM"), 0, f1=0.25)
    assert "figures/" not in findings.page(tmp_path, figures=tmp_path)
    draw(tmp_path)
    assert "](figures/f1_by_seed.svg)" in findings.page(tmp_path, figures=tmp_path)
    keep(tmp_path, cell("DAGMM"), 1, f1=0.25)
    assert "figures/" not in findings.page(tmp_path, figures=tmp_path)


def draw(folder: Path) -> None:
    for name, plot in plots.every(Lookup(folder)).items():
        if plot:
            (folder / f"{name}.svg").write_text(f"<dc:description>records {plots.digest(plot)}</dc:description>")


def test_a_row_that_is_not_in_the_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="k-NN"):
        Lookup(tmp_path).number(DAGMM_TABLE, "kNN", "kddcup")


def test_both_languages_have_the_same_numbers_and_figures(tmp_path: Path) -> None:
    for seed in range(3):
        keep(tmp_path, cell("DAGMM"), seed)
    draw(tmp_path)
    assert all(is_ours(findings.page(tmp_path, language)) for language in findings.PAGES)
    english, korean = (findings.page(tmp_path, language, tmp_path) for language in findings.PAGES)
    for pattern in (
        r"\d\.\d{3} ± \d\.\d{3} \(\d+(?:/\d+)?\)",
        r"figures/\w+\.svg",
        r"\[[PR]\]",
        r"\]\(#",
        r"^#+",
        r"^\| .* \|$",
    ):
        flags = re.MULTILINE
        if pattern.endswith("$"):  # rows of tables, but for the list in English alone
            english = english.split("## Tried and left")[0]
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
def test_the_page_in_docs_is_what_the_raw_results_give(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the page names the folder from where we are
    path = ROOT / "docs" / findings.PAGES[language]
    assert path.read_text(encoding="utf-8") == findings.page(RESULTS, language), "run offnormal bench page"


def test_the_figures_in_docs_are_of_the_raw_results() -> None:
    for name, plot in plots.every(Lookup(RESULTS)).items():
        found = plots.digest_in(ROOT / "docs" / "figures" / f"{name}.svg")
        assert found == (plots.digest(plot) if plot else None), f"{name}: run python benchmarks/figures.py"
