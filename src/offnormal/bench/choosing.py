"""docs/choosing.md: which method for which data, ranked from the raw records of `choosing_tables.py`.

The prose is in `choosing.en.md.j2` and `choosing.ko.md.j2`; every number, rank and verdict is computed here. Rows are
ranked over the same runs alone: those of the basis, under every protocol of the table. A row that lacks one of them is
shown beside the best trivial baseline on the runs that it has, and has no rank.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from offnormal.bench import games
from offnormal.bench.choosing_tables import (
    CONTAMINATION,
    EVERY_METHOD_IMAGES_TABLE,
    EVERY_METHOD_TABLE,
    PUBLISHED_IN,
    PUBLISHED_TABLE,
)
from offnormal.bench.contenders import Contender
from offnormal.bench.jobs import Record
from offnormal.bench.markdown import duration, template
from offnormal.bench.results import Row, rows
from offnormal.bench.table import Table
from offnormal.bench.verdicts import FEWEST_RUNS, Check, Number, Outcome, Relation

PAGES = {"en": "choosing.md", "ko": "choosing.ko.md"}
"""Language -> name of the page."""
LEVEL = 0.02
"""How far below the best mean AUROC a row may be, and still be named for its speed or its memory."""
ADVERSARIAL = frozenset({"aae", "alad", "anogan", "egbad", "f_anogan", "ganomaly", "gpnd", "mo_gaal", "skip_ganomaly",
                         "so_gaal"})  # fmt: skip
"""Methods trained against a discriminator; so is each of which a record tells whether its generator collapsed."""
RECONSTRUCTION = frozenset({"autoencoder", "kernel_pca", "memae", "pca", "rapp", "robust_autoencoder", "robust_pca",
                            "vae"})  # fmt: skip
"""Methods that score by what they rebuild badly, without a discriminator."""
ON_TABLES = ("clean", "contaminated")
ON_IMAGES = ("one", "one_contaminated", "many")
"""What the protocols of the two tables are called in the guide."""
COSTS = ("score", "fit", "memory")

Place = tuple[str, str, int]
"""Protocol, data set and seed of a run."""
Runs = Mapping[Place, Record]


class Basis(NamedTuple):
    """The data sets and seeds that every ranked row has."""

    data: tuple[str, ...]
    seeds: tuple[int, ...]


class Cost(NamedTuple):
    """Seconds or memory of a row's runs on the processor, and of those on a GPU; None where there is none."""

    cpu: float | None
    gpu: float | None


@dataclass(frozen=True)
class Ranked:
    """A row that has every run of the basis; `runs` are these."""

    contender: Contender
    basis: Basis
    runs: Runs

    @property
    def name(self) -> str:
        """Return what the row is called."""
        return self.contender.name

    def number(self, protocol: str, figure: str = "auroc") -> Number:
        """Return the mean over the data sets, by seed."""
        by_seed = {seed: statistics.fmean(self.runs[protocol, data, seed][figure] for data in self.basis.data)
                   for seed in self.basis.seeds}  # fmt: skip
        return Number(self.name, protocol=protocol, figure=figure, of=len(by_seed)).over(by_seed)

    def loss(self, of: str, under: str) -> Number:
        """Return the mean AUROC under one protocol less that under another, by seed."""
        before, after = self.number(of).by_seed, self.number(under).by_seed
        difference = {seed: before[seed] - after[seed] for seed in before}
        return Number(self.name, protocol=under, figure="loss", of=len(difference)).over(difference)

    def spread(self, protocol: str) -> float | None:
        """Return the sample deviation of the AUROC over the seeds, its mean over the data sets; None of one seed."""
        if len(self.basis.seeds) < 2:
            return None
        return statistics.fmean(
            statistics.stdev(self.runs[protocol, data, seed]["auroc"] for seed in self.basis.seeds)
            for data in self.basis.data
        )

    def cost(self, kind: str) -> Cost:
        """Return the mean seconds of a fit, the microseconds per scored row, or the greatest peak memory in MiB."""
        kept: dict[bool, list[Record]] = {False: [], True: []}
        for record in self.runs.values():
            kept[str(record["device"]).startswith("cuda")].append(record)
        return Cost(*(_COST[kind](part) if part else None for part in kept.values()))


_COST: dict[str, Callable[[list[Record]], float]] = {
    "fit": lambda part: statistics.fmean(record["fit_seconds"] for record in part),
    "score": lambda part: 1e6 * sum(r["score_seconds"] for r in part) / sum(r["rows_tested"] for r in part),
    "memory": lambda part: max(record["peak_memory_mb"] for record in part),
}


class Partial(NamedTuple):
    """A row without a rank, beside the best trivial baseline on the same runs; both are mean AUROC over these."""

    name: str
    protocol: str
    runs: int
    of: int
    mean: float
    baseline: str
    baseline_mean: float | None


class Generator(NamedTuple):
    """How the runs of a method with a generator ended, all runs under all protocols."""

    name: str
    runs: int
    collapsed: int
    diversity: float


@dataclass(frozen=True)
class Panel:
    """A table of `choosing_tables.py` with its runs.

    Attributes
    ----------
    basis : Basis
        Empty where no two rows share a run.
    ranked : tuple of Ranked
        In the order of the mean AUROC under the first protocol, the best first.
    partial : tuple of Partial
    without : tuple of str
        Rows without any run.
    failures : tuple of (str, int, str)
        Row, how many of its runs failed, and what the last one said.
    generators : tuple of Generator
    records : tuple
        All of them.
    """

    table: Table
    basis: Basis
    ranked: tuple[Ranked, ...]
    partial: tuple[Partial, ...]
    without: tuple[str, ...]
    failures: tuple[tuple[str, int, str], ...]
    generators: tuple[Generator, ...]
    records: tuple[Record, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """Return the names of the protocols; losses are against the first."""
        return tuple(protocol.name for protocol in self.table.protocols)

    @property
    def of(self) -> int:
        """Return how many rows the table has."""
        return len(self.table.contenders)

    @property
    def complete(self) -> bool:
        """Return whether no run is missing."""
        whole = Basis(self.table.data, tuple(range(self.table.seeds)))
        return self.basis == whole and len(self.ranked) == self.of

    @property
    def enough(self) -> bool:
        """Return whether at least half of the rows are ranked."""
        return 2 * len(self.ranked) >= self.of

    def ranking(self, protocol: str, figure: str = "auroc") -> list[Ranked]:
        """Return the rows, the best first."""
        return sorted(self.ranked, key=lambda row: row.number(protocol, figure).mean, reverse=True)

    def used(self, field: str) -> list[str]:
        """Return the values that a field of the ranked rows' records has, each once."""
        ranked = (record for row in self.ranked for record in row.runs.values())
        return sorted({str(record[field]) for record in ranked if record.get(field)})


class Standing(NamedTuple):
    """A row in a ranking: its number as written, and its rank."""

    row: Ranked
    shown: str
    rank: int


class Entry(NamedTuple):
    """An answer of the guide.

    Attributes
    ----------
    key : str
        By which the template knows the question.
    places : tuple of Standing
        The best first; empty if nothing is measured.
    level : tuple of str
        Rows that the rule of the findings does not tell from the first.
    undecided : bool
        Whether there are too few seeds for that rule.
    on_gpu : tuple of str
        Rows that take no part, since they ran on a GPU.
    """

    key: str
    panel: Panel
    places: tuple[Standing, ...]
    level: tuple[str, ...] = ()
    undecided: bool = False
    on_gpu: tuple[str, ...] = ()

    @property
    def baseline(self) -> Standing | None:
        """Return the best trivial baseline."""
        return next((place for place in self.places if place.row.contender.baseline), None)

    @property
    def method(self) -> Standing | None:
        """Return the best row that is no trivial baseline."""
        return next((place for place in self.places if not place.row.contender.baseline), None)

    @property
    def trivial(self) -> bool:
        """Return whether a trivial baseline is first."""
        return bool(self.places) and self.places[0].row.contender.baseline


class Drawbacks(NamedTuple):
    """Adversarial methods beside the others that have a rank.

    Attributes
    ----------
    rows, others : tuple of Ranked
        Adversarial; neither adversarial nor a trivial baseline.
    best : Ranked or None
        The reconstruction method with the best mean AUROC under the first protocol, chosen after the fact.
    level : dict
        Protocol -> outcome of "its AUROC is above that of `best`" -> names.
    losses : dict
        Protocol -> outcome of "it loses more than `best`" -> names.
    wider : tuple of str
        Those that spread over the seeds more than the median of `others` under the first protocol.
    """

    panel: Panel
    rows: tuple[Ranked, ...]
    others: tuple[Ranked, ...]
    best: Ranked | None
    level: dict[str, dict[Outcome, list[str]]]
    losses: dict[str, dict[Outcome, list[str]]]
    wider: tuple[str, ...]


def page(folder: Path, language: str = "en") -> str:
    """Return the page for the records in `folder`."""
    filters: dict[str, Callable[..., Any]] = {
        "plain": _plain,
        "signed": _signed,
        "spread": _spread,
        "cost": _cost,
        "around": _around,
    }
    filters |= {"ranks": _ranks, "average": _average}
    tables, images = panel(folder, EVERY_METHOD_TABLE), panel(folder, EVERY_METHOD_IMAGES_TABLE)
    text = template(f"choosing.{language}.md.j2", filters).render(
        guide=(guide(tables, ON_TABLES, "table"), guide(images, ON_IMAGES, "images")),
        tables=tables,
        images=images,
        published=panel(folder, PUBLISHED_TABLE),
        published_in=PUBLISHED_IN,
        drawbacks=(drawbacks(tables), drawbacks(images)),
        played=games.played(folder),
        wider=games.wider(folder),
        costs=COSTS,
        limit=LEVEL,
        fewest=FEWEST_RUNS,
        digits=[data.number for data in EVERY_METHOD_IMAGES_TABLE.data_sets],
        contamination=CONTAMINATION,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def panel(folder: Path, table: Table) -> Panel:
    """Return a table with its runs, its rows ranked over the same ones."""
    found: dict[str, dict[Place, Record]] = {contender.name: {} for contender in table.contenders}
    every = rows(folder, table)
    for row in every:
        cell = row.cell
        places = {(cell.protocol.name, cell.data.name, int(r["seed"])): r for r in row.records}
        found[cell.contender.name].update(places)
    protocols = tuple(protocol.name for protocol in table.protocols)
    basis = _basis(table, found)
    needed = [(p, data, seed) for p in protocols for data in basis.data for seed in basis.seeds]
    ranked = [
        Ranked(contender, basis, {place: found[contender.name][place] for place in needed})
        for contender in table.contenders
        if needed and all(place in found[contender.name] for place in needed)
    ]
    ranked.sort(key=lambda row: row.number(protocols[0]).mean, reverse=True)
    names = {row.name for row in ranked}
    return Panel(
        table,
        basis,
        tuple(ranked),
        tuple(_partial(table, {name: runs for name, runs in found.items() if name not in names}, found)),
        tuple(name for name, runs in found.items() if not runs),
        tuple(_failures(every)),
        tuple(_generators(found)),
        tuple(record for runs in found.values() for record in runs.values()),
    )


def _basis(table: Table, found: Mapping[str, Runs]) -> Basis:
    """Return the data sets and seeds for which rows² × data sets × seeds is greatest, of what any two rows share.

    Rows count twice: a guide of few methods is none. Of equals, the one with more data sets, then with more seeds, then
    with those that the table names first.
    """
    best, greatest = Basis((), ()), (0, 0, 0)
    every = range(table.seeds)
    for seeds in (part for n in reversed(every) for part in itertools.combinations(every, n + 1)):
        covered = [_covered(table, runs, seeds) for runs in found.values()]
        shared = {a & b for a, b in itertools.combinations(covered, 2)}
        for data in sorted(shared - {frozenset()}, key=lambda part: sorted(map(table.data.index, part))):
            members = sum(data <= whole for whole in covered)
            size = members**2 * len(data) * len(seeds), len(data), len(seeds)
            if size > greatest:
                best, greatest = Basis(tuple(sorted(data, key=table.data.index)), seeds), size
    return best


def _covered(table: Table, runs: Runs, seeds: Iterable[int]) -> frozenset[str]:
    """Return the data sets on which a row has all of these seeds under every protocol."""
    asked = [(protocol.name, seed) for protocol, seed in itertools.product(table.protocols, seeds)]
    return frozenset(data for data in table.data if all((p, data, seed) in runs for p, seed in asked))


def _partial(table: Table, unranked: Mapping[str, Runs], found: Mapping[str, Runs]) -> Iterator[Partial]:
    """Hold each row without a rank against the best trivial baseline that has all of the same runs."""
    trivial = [contender.name for contender in table.contenders if contender.baseline]
    for (name, runs), protocol in itertools.product(unranked.items(), table.protocols):
        places = [place for place in runs if place[0] == protocol.name]
        if places:
            beside = {other: _mean(found[other], places) for other in trivial
                      if other != name and all(place in found[other] for place in places)}  # fmt: skip
            best = max(beside, key=lambda other: beside[other], default="")
            of = len(table.data) * table.seeds
            yield Partial(name, protocol.name, len(places), of, _mean(runs, places), best, beside.get(best))


def _mean(runs: Runs, places: Iterable[Place]) -> float:
    return statistics.fmean(runs[place]["auroc"] for place in places)


def _failures(every: Iterable[Row]) -> Iterator[tuple[str, int, str]]:
    errors: dict[str, list[str]] = {}
    for row in every:
        errors.setdefault(row.cell.contender.name, []).extend(row.errors)
    return ((name, len(said), said[-1]) for name, said in errors.items() if said)


def _generators(found: Mapping[str, Runs]) -> Iterator[Generator]:
    for name, runs in found.items():
        told = [record for record in runs.values() if record.get("collapsed") is not None]
        if told:
            least = min(float(record["diversity"]) for record in told)
            yield Generator(name, len(told), sum(bool(record["collapsed"]) for record in told), least)


def guide(found: Panel, questions: tuple[str, ...], kind: str) -> tuple[Entry, ...]:
    """Return the answers for a table: `questions` name its protocols, `kind` begins the names of those about cost."""
    by_rank = (_most_accurate(found, key, name) for key, name in zip(questions, found.protocols, strict=True))
    return (*by_rank, *(_cheapest(found, f"{kind}_{cost}", cost) for cost in COSTS))


def _most_accurate(found: Panel, key: str, protocol: str) -> Entry:
    order = found.ranking(protocol)
    places = tuple(Standing(row, f"{row.number(protocol).mean:.3f}", n) for n, row in enumerate(order, 1))
    if not order:
        return Entry(key, found, ())
    first = order[0].number(protocol)
    checks = [Check(first, Relation.ABOVE, row.number(protocol)) for row in order[1:]]
    level = tuple(check.right.name for check in checks if check.outcome is Outcome.SPREAD)
    return Entry(key, found, places, level, undecided=any(check.outcome is Outcome.MISSING for check in checks))


def _cheapest(found: Panel, key: str, kind: str) -> Entry:
    """Return the rows near the best mean AUROC under the first protocol, the cheapest first."""
    reference = found.protocols[0]
    means = {row.name: row.number(reference).mean for row in found.ranked}
    near = [row for row in found.ranked if means[row.name] >= max(means.values()) - LEVEL]
    costs = [(row, row.cost(kind)) for row in near]
    alone = [(row, cost.cpu) for row, cost in costs if cost.cpu is not None and cost.gpu is None]
    alone.sort(key=lambda pair: pair[1])
    places = tuple(
        Standing(row, f"{_amount(kind, value)}, AUROC {means[row.name]:.3f}", n)
        for n, (row, value) in enumerate(alone, 1)
    )
    return Entry(key, found, places, on_gpu=tuple(row.name for row, cost in costs if cost.gpu is not None))


def drawbacks(found: Panel) -> Drawbacks:
    """Hold the adversarial methods of a table against the best reconstruction method."""
    named = ADVERSARIAL | {generator.name for generator in found.generators}
    methods = [row for row in found.ranked if not row.contender.baseline]
    those = tuple(row for row in methods if row.contender.key in named)
    others = tuple(row for row in methods if row.contender.key not in named)
    best = next((row for row in methods if row.contender.key in RECONSTRUCTION), None)
    reference, *further = found.protocols
    level: dict[str, dict[Outcome, list[str]]] = {}
    losses: dict[str, dict[Outcome, list[str]]] = {}
    if best and those:
        for name in found.protocols:
            level[name] = _by_outcome((row.number(name), best.number(name)) for row in those)
        for name in further:
            losses[name] = _by_outcome((row.loss(reference, name), best.loss(reference, name)) for row in those)
    known = [spread for row in others if (spread := row.spread(reference)) is not None]
    middle = statistics.median(known) if known else None
    wider = tuple(row.name for row in those if middle is not None and (row.spread(reference) or 0.0) > middle)
    return Drawbacks(found, those, others, best, level, losses, wider)


def _by_outcome(pairs: Iterable[tuple[Number, Number]]) -> dict[Outcome, list[str]]:
    names: dict[Outcome, list[str]] = {}
    for left, right in pairs:
        names.setdefault(Check(left, Relation.ABOVE, right).outcome, []).append(left.name)
    return {outcome: names[outcome] for outcome in Outcome if outcome in names}


def _plain(number: Number) -> str:
    return f"{number.mean:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _spread(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _around(mean: float, sd: float | None) -> str:
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _cost(cost: Cost, kind: str) -> str:
    """Write what the runs on the processor took, and apart from it what those on a GPU took."""
    cpu = [] if cost.cpu is None else [_amount(kind, cost.cpu)]
    return "; ".join(cpu if cost.gpu is None else [*cpu, f"GPU {_amount(kind, cost.gpu)}"])


def _amount(kind: str, value: float) -> str:
    if kind == "fit":
        return duration(value)
    form = f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"
    return f"{form} {'µs' if kind == 'score' else 'MiB'}"


def _average(part: Iterable[Ranked], figure: str, *protocols: str) -> float | None:
    """Return the mean over rows of their AUROC, its spread over the seeds or its loss; None if there is none."""
    every: list[float | None] = [
        row.spread(*protocols) if figure == "spread" else
        row.loss(*protocols).mean if figure == "loss" else row.number(*protocols).mean
        for row in part
    ]  # fmt: skip
    known = [value for value in every if value is not None]
    return statistics.fmean(known) if known else None


def _ranks(found: Panel, protocol: str) -> dict[str, int]:
    """Return row -> its rank by mean AUROC."""
    return {row.name: n for n, row in enumerate(found.ranking(protocol), 1)}
