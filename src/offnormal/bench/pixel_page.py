"""The part of docs/results.md about data with masks of defects, or with labels of frames."""

from __future__ import annotations

from offnormal.bench import papers
from offnormal.bench.markdown import fit_time
from offnormal.bench.results import Row, summary

TITLES = {
    "auroc": "AUROC of images",
    "average_precision": "average precision of images",
    "pixel_auroc": "pixel AUROC",
    "pixel_average_precision": "pixel average precision",
    "pro_area": "PRO to .3",
    "oracle_dice": "Dice (oracle)",
    "frame_auroc_by_regularity": "frame AUROC by regularity",
    "frame_auroc": "frame AUROC",
    "frame_auroc_per_video": "frame AUROC, mean over recordings",
}


def columns(row: Row) -> tuple[str, ...]:
    """Return the heads of the columns."""
    return ("row", "runs", *(TITLES[figure] for figure in _figures(row)), "fit")


def line(row: Row, mark: str) -> list[str]:
    """Return one row of the page; a published number stands in brackets, with the tag of its source."""
    contender = row.cell.contender
    name = f"*{contender.name}*" if contender.baseline else contender.name
    figures = _figures(row)
    if not row.records:
        return [name, f"0 of {row.cell.seeds}, failed", *[""] * (len(figures) + 1)]
    runs = f"{len(row.records)}" if len(row.records) == row.cell.seeds else f"{len(row.records)} of {row.cell.seeds}"
    return [f"{name} {mark}".strip(), runs, *(_figure(row, figure) for figure in figures), fit_time(row.records)]


def _figures(row: Row) -> tuple[str, ...]:
    own = row.cell.data.figures
    return (*own, "auroc", "average_precision") if row.cell.data.masked else own


def _figure(row: Row, figure: str) -> str:
    measured = [record for record in row.records if figure in record]
    if not measured:
        return ""
    n, mean, sd, _ = summary(measured, figure)
    text = f"{mean:.3f} ± {sd:.3f}" if n > 1 else f"{mean:.3f}"
    for reference in row.cell.contender.paper:
        published = papers.published_figure(reference, row.cell.data.name, row.cell.protocol.name, figure)
        if published is not None:
            text += f" (paper {published.value:.3f} [{published.source}])"
    return text
