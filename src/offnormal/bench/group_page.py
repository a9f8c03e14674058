"""The part of docs/results.md where the classes of a set of images stand together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from offnormal.bench import papers
from offnormal.bench.groups import Group, groups
from offnormal.bench.markdown import circumstances, failures, fit_time, grid, not_measured
from offnormal.bench.results import Row

WORDS = {"auroc": "AUROC", "average_precision": "average precision", "f1": "F1"}
"""Figure -> what its column is called; others by their own name."""
_HOW = (
    "Every class is a run of its own. A number is the mean over the classes ± the standard deviation of that mean over "
    "the seeds; in brackets the lowest and the highest of the classes' own means. A published number, with the tag of "
    "its source, is the mean over all ten classes.\n"
)


def section(every: list[Row], ranks_badly: str, below_untrained: str) -> Iterator[str]:
    """Give the grids of a table whose data sets are classes of images."""
    yield _HOW
    without = []
    for (name, _), part in groupby(groups(every), key=lambda group: (group.name, group.protocol.name)):
        found = list(part)
        measured = [record for group in found for record in group.records]
        tried = [group for group in found if group.runs or group.errors]
        if not measured:
            without.append(name)
            continue
        protocol = found[0].protocol
        yield f"### {name}, {protocol.name}\n"
        yield f"{protocol.about}\n"
        yield f"{circumstances(measured)}\n"
        columns = ("row", "classes", "seeds", *(_title(figure) for figure in protocol.figures), "fit, per class")
        yield from grid(columns, [_line(group, found, ranks_badly, below_untrained) for group in tried])
        for group in found:
            yield from failures(group.contender.name, group.errors)
        yield from not_measured("Rows", [group.contender.name for group in found if group not in tried])
    yield from not_measured("Sets of images", without)


def marks(group: Group, others: list[Group], ranks_badly: str, below_untrained: str) -> str:
    """Return the marks of a row: a mean AUROC below 0.5, or below that of the same network untrained."""
    auroc = group.spread("auroc").mean
    found = ranks_badly if auroc < 0.5 else ""
    for other in others:
        same = other.contender.untrained_of == group.contender.name and other.classes == group.classes
        if same and other.runs and auroc < other.spread("auroc").mean:
            found += below_untrained
    return found


def _line(group: Group, others: list[Group], *words: str) -> list[str]:
    contender = group.contender
    name = f"*{contender.name}*" if contender.baseline else contender.name
    figures = group.protocol.figures
    if not group.runs:
        return [name, "failed", *[""] * (len(figures) + 2)]
    return [
        f"{name} {marks(group, others, *words)}".strip(),
        _coverage(group),
        f"{len(group.seeds)}"
        if len(group.seeds) == group.seeds_asked
        else f"{len(group.seeds)} of {group.seeds_asked}",
        *(_figure(group, figure) for figure in figures),
        fit_time(group.records),
    ]


def _coverage(group: Group) -> str:
    """Say which classes were run."""
    waiting = f"; left out until the others are there: {group.waiting}" if group.waiting else ""
    if len(group.classes) == len(group.every):
        return f"{len(group.classes)}{waiting}"
    return f"{len(group.classes)} of {len(group.every)}: {', '.join(map(str, group.classes))}{waiting}"


def _figure(group: Group, figure: str) -> str:
    mean, sd, low, high = group.spread(figure)
    ours = f"{mean:.3f} ± {sd:.3f}" if len(group.seeds) > 1 else f"{mean:.3f}"
    if len(group.classes) > 1:
        ours += f" ({low:.3f} to {high:.3f})"
    return "; paper ".join([ours, *_published(group, figure)])


def _published(group: Group, figure: str) -> Iterator[str]:
    for reference in group.contender.paper:
        number = papers.published_figure(reference, group.name, group.protocol.name.partition(":")[0], figure)
        if number is not None:
            yield f"{number.value:.4f}".rstrip("0") + f" [{number.source}]"


def _title(figure: str) -> str:
    if "_f1_" not in figure:
        return WORDS.get(figure, figure)
    side, _, percent = figure.split("_")
    return f"{side} F1, {percent} %"
