"""What `evaluate` says of video: scores of frames against the frames that a file calls anomalous."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from offnormal.cli import recordings
from offnormal.cli.console import answers, how_many, listed, print_json, say
from offnormal.cli.reading import STANDARD_STREAM
from offnormal.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from offnormal.data.video import Recording
    from offnormal.detector import Detector

    Array = np.ndarray[Any, Any]

_FORMS = "columns video, frame and label (0 or 1), or video, first and last (spans of anomalous frames, ends included)"


def measured(detector: Detector, data: str, labels: str, align: str, *, strict: bool, quiet: bool) -> dict[str, Any]:
    """Score every recording of DATA and hold the scores against the labels.

    Parameters
    ----------
    labels : str
        A table with one row per frame, or one per span of anomalous frames.

    Raises
    ------
    DataError
        If the labels are not such a table, name other recordings or frames, or all scored frames are of one class.
    """
    import numpy as np

    from offnormal.metrics import ranking
    from offnormal.metrics.frames import frame_auroc, regularity

    given = _Given.read(labels)
    given.expect_names(data)
    columns, counts = recordings.scored(detector, data, align, strict=strict, quiet=quiet)
    names = np.asarray(columns["video"])
    y = given.labels(names, columns["frame"], counts["unreadable"])
    counted = np.isfinite(columns["anomaly_score"]) & (y >= 0)
    if not counted.any():
        raise DataError(f"No scored frame of {data!r} has a label in {labels!r}.")
    parts = [counted & (names == name) for name in dict.fromkeys(names[counted].tolist())]
    scores, truths = [columns["anomaly_score"][part] for part in parts], [y[part] for part in parts]
    plain = frame_auroc(scores, truths)
    regular = frame_auroc([1 - regularity(one) for one in scores], truths)
    pooled_scores, pooled = np.concatenate(scores), np.concatenate(truths)
    at_cut = ranking.f1_at_cut(pooled, pooled_scores, detector.threshold_.value)
    return {
        "videos": plain.videos,
        "frames": len(pooled),
        "anomalies": int(pooled.sum()),
        "left_out": len(y) - len(pooled),
        "frame_auroc": plain.micro,
        "frame_auroc_per_video": plain.macro,
        "videos_of_one_class": plain.left_out,
        "frame_auroc_by_regularity": regular.micro,
        "average_precision": ranking.average_precision(pooled, pooled_scores),
        "rule": detector.threshold_.rule,
        "flagged": int((pooled_scores > detector.threshold_.value).sum()),
        "precision": at_cut.precision,
        "recall": at_cut.recall,
        "f1": at_cut.f1,
        "false_alarm_rate": float((pooled_scores[pooled == 0] > detector.threshold_.value).mean()),
        "unreadable": counts["unreadable"],
    }


def report(
    detector: Detector,
    data: str,
    output: str,
    align: str,
    labels: str | None,
    lang: str,
    top: int,
    *,
    strict: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the report on the recordings of DATA, one of them in memory at a time."""
    import numpy as np

    from offnormal.report import render_video

    known: dict[str, Array] = {}
    unreadable: dict[str, str] = {}
    counts = {"videos": 0, "frames": 0}
    if labels is not None:
        given = _Given.read(labels)
        given.expect_names(data)
        lost: dict[str, str] = {}
        lengths = {one.name: len(one) for one in recordings.each(detector, data, lost, strict=strict, quiet=True)}
        names = np.repeat(list(lengths), list(lengths.values()))
        y = given.labels(names, names, lost)
        known = {name: (y[names == name] == 1).astype(np.int64) for name in lengths}

    def counted() -> Iterator[Recording]:
        for recording in recordings.each(detector, data, unreadable, strict=strict, quiet=quiet):
            counts["videos"] += 1
            counts["frames"] += len(recording)
            yield recording

    render_video(detector, counted(), output, lang=lang, labels=known, align=align, top=top)
    if as_json:
        print_json({"output": output, "lang": lang, **counts, "unreadable": unreadable})
    elif not quiet and output != STANDARD_STREAM:
        what = f"{how_many(counts['videos'], 'recording')}, {how_many(counts['frames'], 'frame')}"
        say(answers(), f"The report on {what} is in {output}; open it in a browser.")


def tell(record: Mapping[str, Any]) -> None:
    """Print what `measured` found."""
    from rich.table import Table

    console = answers()
    share = record["anomalies"] / record["frames"]
    counts = f"{how_many(record['frames'], 'frame')} of {how_many(record['videos'], 'recording')}"
    left = f"; {how_many(record['left_out'], 'frame')} without score or label left out" if record["left_out"] else ""
    say(console, f"{counts}, {record['anomalies']:,} of them anomalous ({share:.2%}){left}")
    ranking = Table("ranking of frames", "value")
    ranking.add_row("AUROC, all recordings pooled", f"{record['frame_auroc']:.4f}")
    if record["frame_auroc_per_video"] is not None:
        without = record["videos_of_one_class"]
        alone = f" ({without:,} of one class left out)" if without else ""
        ranking.add_row(f"AUROC, mean over recordings{alone}", f"{record['frame_auroc_per_video']:.4f}")
    ranking.add_row(
        "AUROC by regularity, as in papers (scales each recording)", f"{record['frame_auroc_by_regularity']:.4f}"
    )
    ranking.add_row("average precision", f"{record['average_precision']:.4f}")
    console.print(ranking)
    cut = Table("rule", "flagged", "precision", "recall", "F1", "false alarms")
    figures = (f"{record[name]:.4f}" for name in ("precision", "recall", "f1"))
    cut.add_row(record["rule"], f"{record['flagged']:,}", *figures, f"{record['false_alarm_rate']:.2%}")
    console.print(cut)


@dataclass(frozen=True)
class _Given:
    """A file of labels, as it stands there.

    Attributes
    ----------
    path : str
    rows : list of dict
    spans : bool
        Whether a row is a span of anomalous frames, and not one frame.
    """

    path: str
    rows: list[dict[str, Any]]
    spans: bool

    @classmethod
    def read(cls, path: str) -> _Given:
        """Read the file.

        Raises
        ------
        DataError
            If it has not the columns.
        """
        from offnormal.data.tables import read_table

        table = read_table(path, text_columns=("video",))
        columns = set(table.column_names)
        spans = {"video", "first", "last"} <= columns
        if not spans and not {"video", "frame", "label"} <= columns:
            raise DataError(f"The labels of frames in {path!r} need {_FORMS}; it has {listed(table.column_names)}.")
        return cls(path, table.to_pylist(), spans)

    def expect_names(self, data: str) -> None:
        """Refuse names of recordings that DATA does not have, before anything is decoded."""
        from offnormal.data.video import find_recordings

        if Path(data).is_dir():
            names = [source.name for source in find_recordings(data)]
            known = {*names, *_without_endings(names)}
            for number, row in enumerate(self.rows, start=2):
                if row["video"] not in known:
                    raise self._unknown(number, names)

    def labels(self, names: Array, frames: Array, unreadable: Collection[str]) -> Array:
        """Return 1 for an anomalous frame, 0 for a normal one, −1 for one that the file says nothing of.

        Labels of recordings that could not be read are passed over.
        """
        import numpy as np

        known = {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}
        unreadable = {*unreadable, *_without_endings(unreadable)}
        endless = _without_endings(known)
        y = np.full(len(names), 0 if self.spans else -1)
        for number, row in enumerate(self.rows, start=2):
            places = known.get(endless.get(row["video"], row["video"]))
            if places is None and row["video"] in unreadable:
                continue
            if places is None:
                raise self._unknown(number, known)
            wanted = (row["first"], row["last"]) if self.spans else (row["frame"], row["frame"])
            label = 1 if self.spans else row["label"]
            whole = all(isinstance(value, int) and 0 <= value < len(places) for value in wanted)
            if not whole or wanted[0] > wanted[1] or label not in (0, 1):
                raise DataError(
                    f"Line {number} of {self.path!r} cannot be used: {row}. Frames are counted from 0, "
                    f"{row['video']!r} has {len(frames[places]):,}, and a label is 0 or 1."
                )
            y[places[wanted[0] : wanted[1] + 1]] = label
        return y

    def _unknown(self, number: int, known: Collection[str]) -> DataError:
        name = self.rows[number - 2]["video"]
        return DataError(f"Line {number} of {self.path!r} names the recording {name!r}; the data has {listed(known)}.")


def _without_endings(names: Collection[str]) -> dict[str, str]:
    """Return "cam1/001" -> "cam1/001.mp4" for the names that stay different without their endings."""
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    taken = {*names, *(stem for stem, times in Counter(stems).items() if times > 1)}
    return {stem: name for stem, name in zip(stems, names, strict=True) if stem not in taken}
