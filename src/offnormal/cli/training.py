"""What `offnormal fit` does between the flags and the summary: choose, select, train, save."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offnormal.cli import flags, reading
from offnormal.cli.console import how_many, noun_of
from offnormal.cli.failures import Interrupted
from offnormal.cli.progress import TrainingProgress, where
from offnormal.errors import DataError, EnvironmentFailure, InvalidParameter, OffnormalError, UnsupportedLevel

if TYPE_CHECKING:
    import pyarrow as pa

    from offnormal.detector import Detector

DEFAULT_METHOD = "auto"
DEFAULT_METHOD_OF_IMAGES = "autoencoder"


@dataclass(frozen=True)
class Roles:
    """Which columns are not, or not only, features."""

    label: str | None = None
    ignored: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    group: str | None = None

    def named(self) -> dict[str, tuple[str, ...]]:
        """Return option -> columns."""
        label, group = (() if name is None else (name,) for name in (self.label, self.group))
        kept_out = {"--label": label, "--group": group, "--ignore": self.ignored, "--id": self.ids}
        return {**kept_out, "--categorical": self.categorical}

    def unused(self) -> set[str]:
        """Return the columns that the model will not see."""
        named = self.named()
        return {*named["--label"], *named["--group"], *self.ignored, *self.ids}

    def parameters(self) -> dict[str, tuple[str, ...]]:
        """Return them as parameters of a detector."""
        named = self.named()
        ignored = dict.fromkeys([*self.ignored, *named["--label"], *named["--group"]])
        return {
            "id_columns": self.ids,
            "ignored_columns": tuple(name for name in ignored if name not in self.ids),
            "categorical_columns": self.categorical,
        }


def configured(
    method: str,
    preset: str | None,
    hyper_parameters: Mapping[str, str | bool],
    given: Mapping[str, Any],
    threshold: str | None,
) -> Detector:
    """Return the untrained detector that the flags describe; every mistake in them shows here, before any work."""
    from offnormal import registry, thresholds
    from offnormal.parameters import declared, validate

    if threshold is not None:
        thresholds.parse_rule(threshold)
    cls = registry.method_class(method)
    values = {**flags.values_for(method, declared(cls), hyper_parameters), **given}
    detector: Detector = cls(**values) if preset is None else cls.from_preset(preset, **values)
    validate(detector)
    return detector


def rows_and_roles(table: pa.Table, roles: Roles, condition: str | None) -> tuple[pa.Table, Roles]:
    """Return the training rows, and the roles with every column that picked them kept out of training.

    A column that the condition compares with a value (a label, most often) tells the chosen rows from the others and
    nothing else: trained on, it would give the label away.
    """
    from offnormal.data.tables import select_rows

    for option, columns in roles.named().items():
        reading.known_columns(table, columns, option)
    unused = roles.unused()
    both = sorted(unused & set(roles.categorical))
    if both:
        raise InvalidParameter(f"--categorical {both[0]!r} is also kept out of training; drop one of the two options.")
    if condition is not None:
        new = [name for name in table.column_names if name not in unused and _compares(condition, name)]
        table = select_rows(table, condition)
        if new:
            shown = ", ".join(map(repr, new))
            warnings.warn(f"Column {shown} picks the training rows, so it is kept out of training.", stacklevel=2)
            roles = replace(roles, ignored=(*roles.ignored, *new))
            unused = roles.unused()
    if unused >= set(table.column_names):
        raise InvalidParameter("No column is left to train on: --label, --group, --ignore and --id name them all.")
    return table, roles


def groups_of(table: pa.Table, column: str | None) -> Any:
    """Return the group of each row, from a column; None of None.

    Raises
    ------
    DataError
        If a row has none.
    """
    if column is None:
        return None
    values = table[column]
    if values.null_count:
        raise DataError(
            f"Column {column!r} has no value in {how_many(values.null_count, 'row')}; --group needs one in every row. "
            "Fill it, or pick other rows with --train-where."
        )
    return values.to_numpy()


def checkpoint_of(output: Path) -> Path:
    """Return the folder that keeps the state of the training of this model file."""
    return output.with_name(output.name + ".checkpoint")


def run(
    detector: Detector,
    rows: reading.Rows,
    output: Path,
    *,
    groups: Any,
    resume: bool,
    time_limit: float | None,
    quiet: bool,
) -> None:
    """Train with a checkpoint beside the output file; `groups` are what the rows belong to, or None.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM, with where the checkpoint is and how to go on.
    """
    checkpoint = checkpoint_of(output)
    if resume and not checkpoint.exists():
        raise InvalidParameter(f"There is no training to resume: {checkpoint} does not exist. Run without --resume.")
    if not resume and checkpoint.exists():
        kept = f"{checkpoint} holds an interrupted training, which this run replaces; --resume would go on with it."
        warnings.warn(kept, stacklevel=2)
    with TrainingProgress(quiet, noun="image" if hasattr(rows, "pixels") else "row") as progress:
        try:
            detector.fit(
                rows,
                groups=groups,
                checkpoint=checkpoint,
                resume=resume,
                on_progress=progress,
                time_limit=time_limit,
            )
        except KeyboardInterrupt as error:
            raise Interrupted(_how_to_go_on(progress, checkpoint)) from error


def save(detector: Detector, output: str, threshold: str | None) -> UnsupportedLevel | None:
    """Write the model file, with the wanted cut if the calibration rows support it.

    Returns
    -------
    UnsupportedLevel or None
        Why the wanted cut was refused; the trained model is kept all the same.
    """
    from offnormal import io
    from offnormal.report.words import speaking_of

    refused = None
    if threshold is not None:
        try:
            detector.set_threshold(threshold)
        except OffnormalError as error:
            kept = f"The model is kept in {output} with its default cut, {detector.threshold_.rule}."
            refused = UnsupportedLevel(f"{speaking_of(noun_of(detector), str(error))} {kept}")
    try:
        io.save(detector, output)
        shutil.rmtree(checkpoint_of(Path(output)), ignore_errors=True)
    except EnvironmentFailure as error:
        raise EnvironmentFailure(f"{error} {_rescued(detector, Path(output).name)}") from error
    return refused


def _rescued(detector: Detector, name: str) -> str:
    """Write the model to the folder for temporary files; say whether that went well."""
    from offnormal import io

    rescue = Path(tempfile.mkdtemp(prefix="offnormal-"), name)
    try:
        io.save(detector, rescue)
    except EnvironmentFailure:
        rescue.parent.rmdir()
        return "Nor could the trained model be kept elsewhere."
    return f"The trained model is in {rescue} instead."


def _compares(condition: str, column: str) -> bool:
    """Return whether a clause of the condition is `column=...` or `column!=...`."""
    return re.search(rf"(?:^| and )\s*{re.escape(column)}\s*!?=", condition) is not None


def _how_to_go_on(progress: TrainingProgress, checkpoint: Path) -> str:
    place = f"Interrupted in {where(progress.last)}" if progress.last is not None else "Interrupted"
    if not checkpoint.exists():
        return f"{place}, before the first checkpoint; run the same command again."
    command = "the same command and --resume"
    if sys.argv[1:2] == ["fit"]:
        command = shlex.join(["offnormal", *sys.argv[1:], *([] if "--resume" in sys.argv else ["--resume"])])
    return f"{place}. The training so far is in {checkpoint}; go on with: {command}"
