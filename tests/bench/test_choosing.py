"""The page on choosing: what is ranked beside what, what it says of records made by hand, and that docs has today's."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal.bench import choosing, records
from offnormal.bench.choosing import Basis, Panel
from offnormal.bench.choosing_tables import ADBENCH, CHOOSING_TABLES, EVERY_METHOD_IMAGES_TABLE, EVERY_METHOD_TABLE
from offnormal.bench.contenders import Contender
from offnormal.bench.jobs import Cell, cells
from offnormal.bench.page import is_ours
from offnormal.bench.protocols import CleanHalf, MixedHalf
from offnormal.bench.table import Table
from offnormal.bench.verdicts import Outcome

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CLEAN, MIXED = CleanHalf().name, MixedHalf().name
SETS = ("cardio", "letter", "musk")
TOY = Table(
    "toy",
    "",
    "",
    SETS,
    (CleanHalf(), MixedHalf()),
    (*(Contender(key, key) for key in ("aae", "memae", "vae", "pca")), Contender("k-NN", "knn", baseline=True)),
    3,
)


def record(cell: Cell, seed: int, auroc: float, **changed: Any) -> dict[str, Any]:
    return {
        "table": cell.table, "data": cell.data.name, "protocol": cell.protocol.name, "contender": cell.contender.name,
        "seed": seed, "fingerprint": cell.fingerprint, "parameters": cell.parameters, "auroc": auroc,
        "f1": auroc, "average_precision": auroc / 2, "fit_seconds": 4.0, "score_seconds": 0.5, "rows_tested": 1000,
        "peak_memory_mb": 500, "device": "cpu", "processor": "a processor", "threads": 1, **changed,
    }  # fmt: skip


def keep(folder: Path, made: Iterable[dict[str, Any]]) -> None:
    with (folder / "toy.jsonl").open("a") as stream:
        stream.writelines(json.dumps(each) + "\n" for each in made)


def runs(
    name: str,
    auroc: Callable[[int, int, bool], float],
    *,
    data: Iterable[str] = SETS,
    seeds: Iterable[int] = (0, 1, 2),
    **changed: Any,
) -> Iterable[dict[str, Any]]:
    """Yield the runs of a row; `auroc` is of the number of the data set, the seed and whether it is contaminated."""
    for cell, seed in itertools.product(cells(TOY, rows=[name], data=list(data)), seeds):
        value = auroc(SETS.index(cell.data.name), seed, cell.protocol.name == MIXED)
        yield record(cell, seed, value, **changed)


def level(value: float, loss: float = 0.0) -> Callable[[int, int, bool], float]:
    return lambda data, seed, mixed: value + 0.001 * seed - loss * mixed


def names(found: Panel) -> list[str]:
    return [row.name for row in found.ranked]


def test_rows_are_ranked_over_the_same_runs_alone(tmp_path: Path) -> None:
    # The last data set is hard. By the runs that it has, the row without it would be the first.
    easy_and_hard = (0.9, 0.9, 0.3)
    for name, shift in (("k-NN", 0.01), ("pca", 0.0), ("vae", -0.01)):
        keep(tmp_path, runs(name, lambda data, seed, mixed, shift=shift: easy_and_hard[data] + shift))
    keep(tmp_path, runs("memae", lambda data, seed, mixed: 0.89, data=SETS[:1]))
    found = choosing.panel(tmp_path, TOY)
    assert found.basis == Basis(SETS, (0, 1, 2))
    assert names(found) == ["k-NN", "pca", "vae"]
    assert [(part.name, part.protocol, part.runs, part.of) for part in found.partial] == [
        ("memae", CLEAN, 3, 9), ("memae", MIXED, 3, 9)
    ]  # fmt: skip
    assert found.partial[0].mean == pytest.approx(0.89)
    assert (found.partial[0].baseline, found.partial[0].baseline_mean) == ("k-NN", pytest.approx(0.91))  # not 0.71
    assert found.without == ("aae",)
    assert not found.complete


@pytest.mark.parametrize(("beside", "seeds"), [(("pca",), (0, 1, 2)), (("pca", "vae", "memae", "aae"), (0,))])
def test_the_basis_has_the_most_runs_together(tmp_path: Path, beside: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    keep(tmp_path, runs("k-NN", level(0.9)))
    for name in beside:
        whole = name == "pca" and len(beside) == 1
        keep(tmp_path, runs(name, level(0.8), seeds=(0, 1, 2) if whole else (0,)))
    found = choosing.panel(tmp_path, TOY)
    assert found.basis == Basis(SETS, seeds)
    assert len(found.ranked) == 1 + len(beside)
    assert not found.partial


def test_many_rows_matter_more_than_many_runs_of_a_few(tmp_path: Path) -> None:
    for name in ("k-NN", "pca"):
        keep(tmp_path, runs(name, level(0.9)))
    for name in ("vae", "memae", "aae"):
        keep(tmp_path, runs(name, level(0.8), data=SETS[:2], seeds=(0,)))
    found = choosing.panel(tmp_path, TOY)
    assert found.basis == Basis(SETS[:2], (0,)), "25 × 2 × 1 runs, against 4 × 3 × 3"
    assert len(found.ranked) == 5


def test_a_row_alone_has_no_rank(tmp_path: Path) -> None:
    keep(tmp_path, runs("pca", level(0.8)))
    keep(tmp_path, runs("k-NN", level(0.8), data=SETS[:1], seeds=(0,)))
    found = choosing.panel(tmp_path, TOY)
    assert (found.basis, names(found)) == (Basis(SETS[:1], (0,)), ["pca", "k-NN"])
    (tmp_path / "toy.jsonl").unlink()
    keep(tmp_path, runs("pca", level(0.8)))
    found = choosing.panel(tmp_path, TOY)
    assert (found.basis, found.ranked) == (Basis((), ()), ())
    assert [part.baseline for part in found.partial] == ["", ""]


def test_means_losses_and_spreads_are_those_of_the_records(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, size=(2, 3, 3))  # contaminated or not, data set, seed
    keep(tmp_path, runs("pca", lambda data, seed, mixed: float(values[int(mixed), data, seed])))
    keep(tmp_path, runs("k-NN", level(0.4)))
    row = choosing.panel(tmp_path, TOY).ranked[0]
    assert row.name == "pca"
    assert row.number(MIXED).values == pytest.approx(tuple(values[1].mean(0)))
    assert row.number(CLEAN, "average_precision").mean == pytest.approx(values[0].mean() / 2)
    assert row.loss(CLEAN, MIXED).mean == pytest.approx(values[0].mean() - values[1].mean())
    assert row.loss(CLEAN, MIXED).sd == pytest.approx((values[0] - values[1]).mean(0).std(ddof=1))
    assert row.spread(CLEAN) == pytest.approx(values[0].std(1, ddof=1).mean())


def test_the_guide_names_the_first_and_who_is_not_to_be_told_from_it(tmp_path: Path) -> None:
    jump = (0.0, 0.02, -0.02)
    keep(tmp_path, runs("k-NN", level(0.9, loss=0.3)))
    keep(tmp_path, runs("pca", lambda data, seed, mixed: 0.895 + jump[seed]))
    keep(tmp_path, runs("vae", level(0.5)))
    clean, mixed, *_ = choosing.guide(choosing.panel(tmp_path, TOY), choosing.ON_TABLES, "table")
    assert [(place.row.name, place.shown, place.rank) for place in clean.places] == [
        ("k-NN", "0.901", 1), ("pca", "0.895", 2), ("vae", "0.501", 3)
    ]  # fmt: skip
    assert (clean.trivial, mixed.trivial) == (True, False)
    assert clean.level == ("pca",)
    assert clean.method is clean.places[1]
    assert mixed.places[0].row.name == "pca"
    assert mixed.baseline is not None
    assert (mixed.baseline.row.name, mixed.baseline.rank) == ("k-NN", 2)
    assert mixed.level == ()
    assert not clean.undecided


def test_two_seeds_tell_nothing_apart(tmp_path: Path) -> None:
    for name, value in (("k-NN", 0.9), ("pca", 0.5)):
        keep(tmp_path, runs(name, level(value), seeds=(0, 1)))
    clean, *_ = choosing.guide(choosing.panel(tmp_path, TOY), choosing.ON_TABLES, "table")
    assert (clean.undecided, clean.level) == (True, ())


def test_the_cheapest_is_near_the_best_and_ran_on_the_processor(tmp_path: Path) -> None:
    keep(tmp_path, runs("k-NN", level(0.9), score_seconds=0.003, fit_seconds=0.1))
    keep(tmp_path, runs("pca", level(0.889), score_seconds=0.002, fit_seconds=60.0))
    keep(tmp_path, runs("vae", level(0.5), score_seconds=0.001, fit_seconds=0.0))
    keep(tmp_path, runs("aae", level(0.89), data=SETS[:1], score_seconds=0.0, fit_seconds=2.0, device="cuda:0"))
    keep(tmp_path, runs("aae", level(0.89), data=SETS[1:], score_seconds=0.0, fit_seconds=9.0))
    found = choosing.panel(tmp_path, TOY)
    *_, score, fit, memory = choosing.guide(found, choosing.ON_TABLES, "table")
    assert [(place.row.name, place.shown) for place in score.places] == [
        ("pca", "2.0 µs, AUROC 0.890"), ("k-NN", "3.0 µs, AUROC 0.901")
    ]  # fmt: skip
    assert [place.row.name for place in fit.places] == ["k-NN", "pca"]
    assert score.on_gpu == fit.on_gpu == ("aae",)
    assert memory.places[0].shown == "500 MiB, AUROC 0.901"
    (row,) = (row for row in found.ranked if row.name == "aae")
    assert row.cost("fit") == (9.0, 2.0)
    assert choosing._cost(row.cost("fit"), "fit") == "9.0 s; GPU 2.0 s"


def test_adversarial_methods_stand_beside_the_best_reconstruction(tmp_path: Path) -> None:
    keep(tmp_path, runs("pca", level(0.9, loss=0.1)))
    keep(tmp_path, runs("vae", level(0.85)))
    keep(tmp_path, runs("k-NN", level(0.95)))
    wide = (0.0, 0.1, 0.2)
    made = list(runs("aae", lambda data, seed, mixed: 0.5 + wide[seed] - 0.3 * mixed, collapsed=False, diversity=0.9))
    made[0] |= {"collapsed": True, "diversity": 0.02}
    keep(tmp_path, made)
    keep(tmp_path, runs("memae", level(0.7, loss=0.05), collapsed=False, diversity=0.5))  # told by its records alone
    found = choosing.drawbacks(choosing.panel(tmp_path, TOY))
    assert [row.name for row in found.rows] == ["memae", "aae"]
    assert [row.name for row in found.others] == ["pca", "vae"]
    assert found.best is not None
    assert found.best.name == "pca"
    assert found.losses == {MIXED: {Outcome.HOLDS: ["aae"], Outcome.FAILS: ["memae"]}}
    assert found.level[CLEAN] == {Outcome.FAILS: ["memae", "aae"]}
    assert found.wider == ("aae",)
    assert found.panel.generators == (("aae", 18, 1, 0.02), ("memae", 18, 0, 0.5))


@pytest.mark.parametrize("language", choosing.PAGES)
def test_without_records_nothing_is_measured(tmp_path: Path, language: str) -> None:
    text = choosing.page(tmp_path, language)
    said = {"en": ("not measured yet.", "No adversarial method has a rank yet."),
            "ko": ("아직 측정하지 않음.", "순위에 든 적대적 방법이 아직 없습니다.")}[language]  # fmt: skip
    assert text.count(f":** {said[0]}") == 11
    assert text.count(said[1]) == 2
    assert not re.search(r"\bnan\b|\d\.\d{3}|\| ", text)
    assert is_ours(text)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every run of both tables but for a few, with a GPU, a failure and collapsed generators among them."""
    folder, draw = tmp_path_factory.mktemp("results"), np.random.default_rng(1)
    for table in CHOOSING_TABLES:
        made = []
        for number, cell in enumerate(cells(table)):
            name, device = cell.contender.name, "cuda:0" if cell.contender.name == "gpnd" else "cpu"
            for seed in range(cell.seeds):
                extra: dict[str, Any] = {"gpu": "a GPU"} if device != "cpu" else {}
                extra |= {"collapsed": seed == 1, "diversity": 0.05} if name == "aae" else {}
                extra |= {"error": "MemoryError: none left"} if (name, cell.data.name) == ("dcn", "musk") else {}
                auroc = 0.99 if name == "k-NN" else float(draw.uniform(0.6, 0.9))
                if name != "dsebm" and (name != "rapp" or number % 2):
                    made.append(record(cell, seed, auroc, device=device, **extra))
        with records.path_of(folder, table.name).open("w") as stream:
            stream.writelines(json.dumps(each) + "\n" for each in made)
    return folder


page_of = functools.cache(choosing.page)


def test_the_page_tells_all_of_it(measured: Path) -> None:
    text = page_of(measured, "en")
    of = len(EVERY_METHOD_TABLE.contenders)
    assert f"Ranked: {of - 3} of {of} rows, over the same 13 of 13 data sets and seeds 0, 1, 2." in text
    assert f"- **Clean table:** so far, first of {of - 3}: *k-NN* 0.990 (**a trivial baseline**); second: [`" in text
    assert re.search(
        r"A trivial baseline is first in 11 of the 11 answers that rank at least half of the rows: Clean table; ", text
    )
    assert "Collapsed, of all runs there are: 26 of 78. `aae` 26/78." in text
    assert "- Tables: dcn, 6 failed: MemoryError: none left" in text
    assert f"- Tables: no run yet, 1 of {of} rows: dsebm." in text
    assert re.search(r"\| `gpnd` \|.*\| GPU 500 µs \| GPU 4\.0 s \| GPU 500 MiB \|", text)
    assert "Some runs used a GPU: a GPU." in text
    mean = np.mean([r["auroc"] for r in records.read(records.path_of(measured, "every_method"))
                    if (r["contender"], r["protocol"]) == ("aae", CLEAN)])  # fmt: skip
    assert f"| `aae` | {mean:.3f} | " in text.split("### On tables")[1].split("### On images")[0]
    # Every line of a table has as many cells as its head.
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_both_languages_have_the_same_numbers_names_and_tables(measured: Path) -> None:
    english, korean = (page_of(measured, language) for language in choosing.PAGES)
    for pattern in (
        r"[+-]?\d+\.\d+",
        r"`\w+`",
        r"\*[\w, -]+\*(?= \d)",
        r"^\|.*\|$",
        r"^#+",
        r"\]\((?!find|choos)[^)]*\)",
    ):
        found = [sorted(re.findall(pattern, text, re.MULTILINE)) for text in (english, korean)]
        if pattern.startswith("^"):
            found = [[len(each)] for each in found]
        assert found[0] == found[1], pattern
    assert all(is_ours(text) for text in (english, korean))


def test_the_page_depends_on_the_records_alone(measured: Path, tmp_path: Path) -> None:
    for table in CHOOSING_TABLES:
        lines = records.path_of(measured, table.name).read_text().splitlines(keepends=True)
        records.path_of(tmp_path, table.name).write_text("".join(reversed(lines)))
    assert choosing.page(tmp_path) == page_of(measured, "en")


def test_the_words_fit_the_tables() -> None:
    assert [len(table.protocols) for table in CHOOSING_TABLES] == [len(choosing.ON_TABLES), len(choosing.ON_IMAGES)]
    assert {c.key for table in CHOOSING_TABLES for c in table.contenders} >= choosing.RECONSTRUCTION
    assert not choosing.RECONSTRUCTION & choosing.ADVERSARIAL
    assert EVERY_METHOD_TABLE.data == ADBENCH
    assert all(data.number is not None for data in EVERY_METHOD_IMAGES_TABLE.data_sets)


@pytest.mark.parametrize("language", choosing.PAGES)
def test_the_page_in_docs_is_what_the_raw_results_give(language: str) -> None:
    path = ROOT / "docs" / choosing.PAGES[language]
    assert path.read_text(encoding="utf-8") == choosing.page(RESULTS, language), "run offnormal bench page"
