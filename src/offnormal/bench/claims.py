"""The claims that docs/findings.md holds against the raw records: the DAGMM paper's, our own, and the field's.

A claim is a function here, and words in `findings.en.md.j2` and `findings.ko.md.j2`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator

from offnormal.bench.claim import Claim
from offnormal.bench.field_claims import FIELD
from offnormal.bench.lookup import (
    KDDCUP,
    PROTOCOL,
    RANKING,
    Line,
    Lookup,
    baseline_names,
    best_of,
    lines,
    trivial_names,
)
from offnormal.bench.tables import (
    ABLATIONS_TABLE,
    ADBENCH_TABLE,
    COMPRESSIONS_TABLE,
    CONTAMINATION_TABLE,
    DAGMM_TABLE,
    FOUR,
    RIVALS_TABLE,
    SHARE_TABLE,
)
from offnormal.bench.verdicts import Check, Number, Outcome, Relation

PAPER, OURS = "DAGMM", "DAGMM, our defaults"
QUICK = "paper, 20 epochs at 1e-3"
"""The paper's configuration in fewer, larger steps; rows whose name goes on change one more thing."""
STEADY = 0.02
"""The standard deviation of F1 over the seeds that we aim at."""
F1_MARGIN, ERROR_MARGIN = 0.05, 0.1
"""How near is near, for F1 and for the reconstruction error."""
HIGH_F1 = 0.9
BEST = "the best trivial baseline"
ERRORS = {"DAGMM": 0.26, "PAE": 0.26, "E2E-AE": 1.13}
"""Reconstruction errors per sample on KDDCUP, section 4.5 of the paper."""
AIMS = {"clean_half": 0.970, "mixed_half": 0.890}
"""The mean AUROC over the thirteen public tables that `auto` was built for."""
ABOVE, BELOW, NEAR = Relation.ABOVE, Relation.BELOW, Relation.NEAR


def claims(lookup: Lookup) -> tuple[Claim, ...]:
    """Return every claim in the order of the page."""
    return tuple(
        make(lookup)
        for make in (
            _reaches_the_paper, _evidence_of_learning, _training_helps, _reconstruction_error, _pre_trained_stay,
            _end_to_end, _both_aspects, _plain_mixture, _parts, _changes, _alternating, _contamination, _auto,
            _auto_on_the_four, *FIELD, _other_compressions,
        )
    )  # fmt: skip


def _reaches_the_paper(lookup: Lookup) -> Claim:
    names = (PAPER, OURS)
    ours = {(data, name): lookup.number(DAGMM_TABLE, name, data) for data in FOUR for name in names}
    checks = tuple(
        Check(number, ABOVE, published)
        for (data, _), number in ours.items()
        if (published := lookup.published(DAGMM_TABLE, PAPER, data)) is not None
    )
    shown = lines(lookup, DAGMM_TABLE, names, FOUR)
    return Claim("paper", ("dagmm",), checks, shown, steady=tuple(ours.values()))


def _evidence_of_learning(lookup: Lookup) -> Claim:
    bar = Number("an F1 of", KDDCUP, PROTOCOL, mean=HIGH_F1, source="bar")
    floor = tuple(lookup.number(DAGMM_TABLE, name, KDDCUP) for name in baseline_names(DAGMM_TABLE))
    untrained = tuple(lookup.number(DAGMM_TABLE, f"{name}, untrained", KDDCUP) for name in (PAPER, OURS))
    best = best_of((lookup.number(DAGMM_TABLE, name, KDDCUP) for name in trivial_names(DAGMM_TABLE)), BEST)
    checks = (
        *(Check(number, BELOW, bar) for number in (best, *untrained)),
        *_trained_above_untrained(lookup, (KDDCUP,)),
    )
    # Whoever gets there without learning refutes it; by the mean, since a bar is no random number.
    refuted = any(number.decided and number.mean >= HIGH_F1 for number in floor)
    shown = _with_untrained(lookup, (KDDCUP,))
    return Claim("learning", ("dagmm",), checks, shown, refuted=refuted, reaching=floor)


def _training_helps(lookup: Lookup) -> Claim:
    data = tuple(each for each in FOUR if each != KDDCUP)
    checks = tuple(_trained_above_untrained(lookup, data))
    return Claim("training", ("dagmm",), checks, _with_untrained(lookup, data))


def _trained_above_untrained(lookup: Lookup, data: Iterable[str]) -> Iterator[Check]:
    for each, name, figure in itertools.product(data, (PAPER, OURS), ("f1", "auroc")):
        untrained = lookup.number(DAGMM_TABLE, f"{name}, untrained", each, figure=figure)
        yield Check(lookup.number(DAGMM_TABLE, name, each, figure=figure), ABOVE, untrained)


def _with_untrained(lookup: Lookup, data: Iterable[str]) -> tuple[Line, ...]:
    names = (PAPER, f"{PAPER}, untrained", OURS, f"{OURS}, untrained")
    return lines(lookup, DAGMM_TABLE, names, data)


def _reconstruction_error(lookup: Lookup) -> Claim:
    figures = ("reconstruction_error", *RANKING)
    error = functools.partial(lookup.number, data=KDDCUP, figure="reconstruction_error")
    joint, alone = error(DAGMM_TABLE, PAPER), error(RIVALS_TABLE, "E2E-AE")
    found = {"DAGMM": joint, "PAE": error(RIVALS_TABLE, "PAE"), "E2E-AE": alone}
    published = {
        name: Number("the paper", KDDCUP, PROTOCOL, "reconstruction_error", mean=value, source="P")
        for name, value in ERRORS.items()
    }
    checks = (
        Check(joint, BELOW, alone),
        *(Check(found[name], NEAR, published[name], ERROR_MARGIN) for name in ERRORS),
    )
    shown = (
        *lines(lookup, DAGMM_TABLE, (PAPER, f"{PAPER}, untrained"), figures=figures),
        *lines(lookup, RIVALS_TABLE, ("PAE", "E2E-AE", "DAGMM-p"), figures=figures),
    )
    shown = tuple(line._replace(published=published.get(line.name)) for line in shown)
    return Claim("error", ("dagmm", "rivals"), checks, shown, figures)


def _pre_trained_stay(lookup: Lookup) -> Claim:
    frozen, error = "PAE-GMM", "reconstruction_error"
    checks = tuple(
        check
        for data in FOUR
        for tuned in [lookup.number(RIVALS_TABLE, "DAGMM-p", data)]
        for check in (
            Check(tuned, NEAR, lookup.number(RIVALS_TABLE, frozen, data), F1_MARGIN),
            Check(lookup.number(DAGMM_TABLE, PAPER, data), ABOVE, tuned),
        )
    )
    figures = ("f1", "auroc", error)
    shown = tuple(
        line
        for data in FOUR
        for line in (
            *lines(lookup, RIVALS_TABLE, ("PAE", "PAE-GMM", "PAE-GMM-EM", "DAGMM-p"), (data,), figures=figures),
            *lines(lookup, DAGMM_TABLE, (PAPER,), (data,), figures=figures),
        )
    )
    return Claim("pretraining", ("rivals", "dagmm"), checks, shown, figures)


def _end_to_end(lookup: Lookup) -> Claim:
    narrow = lookup.number(RIVALS_TABLE, "E2E-AE", KDDCUP)
    published = lookup.published(RIVALS_TABLE, "E2E-AE", KDDCUP)
    checks = (
        *((Check(narrow, NEAR, published, F1_MARGIN),) if published else ()),
        Check(lookup.number(RIVALS_TABLE, "AE, code of 3", KDDCUP), ABOVE, narrow),
        Check(narrow, BELOW, lookup.number(RIVALS_TABLE, "PCA, 1 component", KDDCUP)),
    )
    figures = (*RANKING, "reconstruction_error")
    shown = (
        *lines(lookup, RIVALS_TABLE, ("E2E-AE",), FOUR, figures=figures),
        *lines(lookup, RIVALS_TABLE, ("PAE", "AE, code of 3"), figures=figures),
    )
    return Claim("end_to_end", ("rivals",), checks, shown, figures)


def _ablated(lookup: Lookup, key: str, names: tuple[str, ...]) -> Claim:
    whole = {figure: lookup.number(ABLATIONS_TABLE, OURS, KDDCUP, figure=figure) for figure in ("f1", "auroc")}
    checks = tuple(
        Check(whole[figure], ABOVE, lookup.number(ABLATIONS_TABLE, name, KDDCUP, figure=figure))
        for name in names
        for figure in whole
    )
    return Claim(key, ("ablations",), checks, lines(lookup, ABLATIONS_TABLE, (OURS, *names)))


def _both_aspects(lookup: Lookup) -> Claim:
    return _ablated(
        lookup, "aspects", ("mixture of the code alone", "mixture of the reconstruction features alone")
    )  # fmt: skip


def _alternating(lookup: Lookup) -> Claim:
    return _ablated(lookup, "alternating", ("alternating training",))


def _parts(lookup: Lookup) -> Claim:
    names = (c.name for c in ABLATIONS_TABLE.contenders if not c.baseline and c.name != OURS)
    return _ablated(lookup, "parts", tuple(name for name in names if not name.startswith(QUICK)))


def _changes(lookup: Lookup) -> Claim:
    names = tuple(c.name for c in ABLATIONS_TABLE.contenders if c.name.startswith(f"{QUICK}, "))
    checks = tuple(
        Check(lookup.number(ABLATIONS_TABLE, name, KDDCUP, figure=figure), ABOVE,
              lookup.number(ABLATIONS_TABLE, QUICK, KDDCUP, figure=figure))
        for name in names for figure in ("f1", "auroc")
    )  # fmt: skip
    shown = lines(lookup, ABLATIONS_TABLE, (QUICK, *names))
    return Claim("changes", ("ablations",), checks, shown)


def _plain_mixture(lookup: Lookup) -> Claim:
    plain = ("EM mixture on the columns", "PCA + GMM", "PCA with residual + GMM")
    checks = tuple(
        Check(lookup.number(DAGMM_TABLE, ours, data), ABOVE, lookup.number(RIVALS_TABLE, other, data))
        for data in FOUR
        for ours in (PAPER, OURS)
        for other in plain[:2]
    )
    shown = tuple(
        line
        for data in FOUR
        for line in (
            *lines(lookup, DAGMM_TABLE, (PAPER, OURS), (data,)), *lines(lookup, RIVALS_TABLE, plain, (data,)),
        )
    )  # fmt: skip
    return Claim("mixture", ("dagmm", "rivals"), checks, shown)


def _contamination(lookup: Lookup) -> Claim:
    checks: list[Check] = []
    shown: list[Line] = []
    for table in (CONTAMINATION_TABLE, SHARE_TABLE):
        for protocol in (each.name for each in table.protocols):
            published = lookup.published(table, PAPER, KDDCUP, protocol)
            ours = [lookup.number(table, name, KDDCUP, protocol) for name in (PAPER, OURS)]
            rivals = (lookup.number(table, name, KDDCUP, protocol) for name in trivial_names(table))
            best = best_of(rivals, BEST)
            checks += [Check(number, ABOVE, published) for number in ours if published is not None]
            checks += [Check(number, ABOVE, best) for number in ours if published is None]
            shown += lines(lookup, table, (PAPER, OURS), protocol=protocol)
    return Claim("contamination", ("contamination", "contaminated_share"), tuple(checks), tuple(shown))


def _auto(lookup: Lookup) -> Claim:
    figures, names = ("auroc", "average_precision"), [contender.name for contender in ADBENCH_TABLE.contenders]
    others = [name for name in names if not name.startswith("auto")]
    without = [name for name in names if name.startswith("auto, without ")]
    central: list[Check] = []
    views: list[Check] = []
    for protocol, aim in AIMS.items():
        whole = {figure: lookup.over_sets("auto", protocol, figure) for figure in figures}
        goal = Number("our aim", "", protocol, "auroc", mean=aim, source="aim")
        central += [
            Check(whole[figure], ABOVE, lookup.over_sets(name, protocol, figure))
            for figure in figures
            for name in others
        ]
        central.append(Check(whole["auroc"], ABOVE, goal))
        views += [Check(whole["auroc"], ABOVE, lookup.over_sets(name, protocol, "auroc")) for name in without]
    own = ["auto", *(name for name in names if name.startswith("auto,"))]
    shown = tuple(
        Line("", protocol, name, None, tuple(lookup.over_sets(name, protocol, figure) for figure in figures))
        for protocol in AIMS
        for name in (*own, *others)
    )
    return Claim(
        "auto",
        ("adbench",),
        (*central, *views),
        shown,
        figures,
        refuted=_one_fails(central),
        comparators=tuple(others),
        beside=False,
    )


def _one_fails(checks: Iterable[Check]) -> bool:
    return any(check.outcome is Outcome.FAILS for check in checks)


def _auto_on_the_four(lookup: Lookup) -> Claim:
    others = (OURS, *baseline_names(DAGMM_TABLE))
    checks = tuple(
        Check(
            lookup.number(DAGMM_TABLE, "auto", data, figure=figure), ABOVE,
            best_of((lookup.number(DAGMM_TABLE, name, data, figure=figure) for name in others), "the best comparator"),
        )
        for data in FOUR for figure in ("auroc", "average_precision")
    )  # fmt: skip
    shown = lines(lookup, DAGMM_TABLE, ("auto", OURS), FOUR)
    return Claim("auto_four", ("dagmm",), checks, shown, refuted=_one_fails(checks))


def _other_compressions(lookup: Lookup) -> Claim:
    table = COMPRESSIONS_TABLE
    names = [contender.name for contender in table.contenders if contender.key == "composed_dagmm"]
    checks = tuple(
        Check(lookup.number(table, name, data), ABOVE, lookup.number(table, OURS, data))
        for data in FOUR for name in names
    )  # fmt: skip
    return Claim("compressions", (table.name,), checks, lines(lookup, table, (OURS, *names), FOUR))
