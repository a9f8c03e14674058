"""`offnormal evaluate`: how well a model ranks and cuts, on data whose labels are known."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from offnormal.cli import pictures, reading, recordings
from offnormal.cli.console import answers, how_many, noun_of, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    AlignOption,
    AnomalyOption,
    DataArgument,
    DataFormatOption,
    EncodingOption,
    FrameLabelsOption,
    ImageColumnOption,
    JsonOption,
    LabelOption,
    ModelArgument,
    NamesOption,
    NormalOption,
    QuietOption,
    StrictOption,
)
from offnormal.cli.progress import working
from offnormal.errors import InvalidParameter


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    label: LabelOption = None,
    anomaly: AnomalyOption = None,
    normal: NormalOption = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--bootstrap",
            metavar="N",
            min=0,
            help="Bootstrap draws for the 95 % intervals; 0: none. Default: 1,000, fewer for many rows.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    image_column: ImageColumnOption = None,
    frame_labels: FrameLabelsOption = None,
    align: AlignOption = None,
    strict: StrictOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure MODEL on labeled DATA: AUROC, average precision, and precision, recall and F1 at each threshold rule.

    Labels of a table are in the column [bold]--label[/]; of images, the subfolders they lie in, or a list. They are
    used for nothing else. The best F1 is an oracle: it takes the cut that only the labels can tell. Of images also
    each kind by itself and, where there are masks, how well the maps find their pixels.
    """
    with warnings_as_lines(quiet):
        import numpy as np

        from offnormal.cli import filmed, labels, measuring, pictured, scoring

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        if recordings.seen_by(detector):
            if frame_labels is None:
                raise InvalidParameter("--frame-labels FILE is needed: a table that says which frames are anomalous.")
            recordings.refuse_options(data, {
                "--label": label, "--anomaly": anomaly, "--normal": normal, "--names": names,
                "--data-format": data_format, "--image-column": image_column, "--bootstrap": draws,
            })  # fmt: skip
            found = filmed.measured(detector, data, frame_labels, align or "center", strict=strict, quiet=quiet)
            record = {"model": model, "data": data} | found
            print_json(record) if as_json else filmed.tell(record)
            return
        recordings.refuse_video_options(data, {"--frame-labels": frame_labels, "--align": align})
        if label is None and not pictures.seen_by(detector):
            raise InvalidParameter("--label COLUMN is needed: it names the column that holds the labels.")
        rows = reading.rows(
            data,
            detector,
            names=names,
            data_format=data_format,
            encoding=encoding,
            label=label,
            image_column=image_column,
            strict=strict,
            every=bool(anomaly or normal),
            quiet=quiet,
        )
        y, counted = labels.of(rows, data, label, anomaly or [], normal or [])
        noun = noun_of(detector)
        scores = scoring.scores_of(detector, rows, quiet)
        labeled = int(counted.sum())
        counted &= np.isfinite(scores)  # an image that cannot be used has none
        pictured.warn_of_training_images(detector, rows, y, counted)
        labels.expect_both(y[counted], noun)
        with working("Measuring", quiet):
            record = measuring.measured(detector, y[counted], scores[counted], draws, seed)
        record |= pictures.changes(rows)
        if hasattr(rows, "files"):
            record["kinds"] = pictured.by_kind(detector, rows.files, y, counted, scores)
            record["pixels"] = pictured.by_pixel(detector, rows, y, counted, quiet)
    counts = {"rows": int(counted.sum()), "anomalies": int(y[counted].sum()), "left_out": len(y) - labeled}
    record = {"model": model, "data": data} | counts | record
    if as_json:
        print_json(record)
    else:
        _tell(record, noun)
        pictured.tell(record)


def _tell(record: dict[str, Any], noun: str) -> None:
    from rich.table import Table

    console = answers()
    share = record["anomalies"] / record["rows"]
    left_out = (
        f"; {how_many(record['left_out'], noun)} without a label that counts left out" if record["left_out"] else ""
    )
    counts = f"{how_many(record['rows'], noun)}, {record['anomalies']:,} of them anomalies ({share:.2%})"
    say(console, counts + left_out)
    interval = f"95 % interval ({record['draws']:,} draws)" if record["draws"] else ""
    ranking = Table("ranking", "value", interval)
    for name, words in (
        ("auroc", "AUROC"),
        ("average_precision", "average precision"),
        ("best_f1", "best F1 (oracle: the cut is taken from the labels)"),
    ):
        ranking.add_row(words, *_figure(record[name]))
    console.print(ranking)
    cuts = Table("rule", "cut", "flagged", "precision", "recall", "F1", "95 % interval of F1")
    for row in record["rules"]:
        if row["value"] is None:
            cuts.add_row(row["rule"], "refused", *[""] * 5)
            continue
        measures = (_figure(row[name])[0] for name in ("precision", "recall"))
        cuts.add_row(
            row["rule"] + (" (the model's)" if row["current"] else ""),
            f"{row['value']:.5g}",
            f"{row['flagged']:,}",
            *measures,
            *_figure(row["f1"]),
        )
    console.print(cuts)
    for row in record["rules"]:
        if row["value"] is None:
            say(console, f"{row['rule']}: {row['refused']}")


def _figure(estimate: dict[str, float | None]) -> tuple[str, str]:
    value = f"{estimate['value']:.4f}"
    if estimate["low"] is None:
        return value, ""
    return value, f"{estimate['low']:.4f} to {estimate['high']:.4f}"
