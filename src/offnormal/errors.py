"""Everything offnormal raises on purpose.

OffnormalError
├── InvalidParameter   (ValueError)   a hyper-parameter is out of its range; lists all bad ones at once
├── UnknownName        (ValueError)   a method, preset, rule or column that does not exist; "did you mean"
├── DataError          (ValueError)   the data cannot be used: empty, infinite, one row, unreadable
│   ├── SchemaMismatch (ValueError)   columns missing or mistyped against the fitted table
│   └── FileUnreadable (ValueError)   a data file that is not what its name says
├── UnsupportedLevel   (ValueError)   a level the calibration rows cannot support
├── ModelFileError     (ValueError)   a model file or checkpoint that is truncated, foreign or altered
├── TrainingDiverged   (ArithmeticError)  a loss term stopped being finite
├── NotSupported       (TypeError)    this method cannot do that (e.g. `transform` without a code)
└── EnvironmentFailure (OSError)      disk full, no permission, out of memory: not the user's mistake

Each message says what was expected, what came, where, and what to do. The command line prints it as one sentence and
exits with `exit_code`: 2 for a mistake of the user's, 1 for the environment. One thing is a warning: `CollapseWarning`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OffnormalError(Exception):
    """Base class of every error raised on purpose."""

    exit_code = 2


class InvalidParameter(OffnormalError, ValueError):
    """One or more hyper-parameters are outside their range."""


class UnknownName(OffnormalError, ValueError):
    """A name that does not exist, with the nearest ones that do."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Build the error for `name`, naming the closest of `known`."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else f" Known: {', '.join(names) or 'none'}."
        return cls(f"There is no {kind} {name!r}.{hint}")


class DataError(OffnormalError, ValueError):
    """The data cannot be used as they are."""


class SchemaMismatch(DataError):
    """Columns are missing or of another type than at training."""


class FileUnreadable(DataError):
    """A data file could not be read as what its name says."""


class UnsupportedLevel(OffnormalError, ValueError):
    """A false-alarm level or risk that the calibration rows are too few to support."""


class ModelFileError(OffnormalError, ValueError):
    """A model file or checkpoint is truncated, altered, foreign or of an unknown version."""


class TrainingDiverged(OffnormalError, ArithmeticError):
    """A loss term stopped being finite.

    Attributes
    ----------
    phase, update, term : str
        Where in the method it happened, named as in the paper.
    epoch : int
        Counted from 1.
    """

    def __init__(self, phase: str, update: str, term: str, epoch: int) -> None:
        self.phase, self.update, self.term, self.epoch = phase, update, term, epoch
        super().__init__(
            f"Training diverged: loss term {term!r} of update {update!r} in phase {phase!r} was not finite in epoch "
            f"{epoch}. Lower learning_rate, check the columns for extreme values, or use scaling='standard'."
        )

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[str, str, str, int]]:
        return type(self), (self.phase, self.update, self.term, self.epoch)


class NotSupported(OffnormalError, TypeError):
    """The method has no such capability."""


class EnvironmentFailure(OffnormalError, OSError):
    """The machine, not the user: disk full, permission denied, out of memory."""

    exit_code = 1


class CollapseWarning(UserWarning):
    """A generator makes nearly the same row from every code; the scores that rest on it may be poor."""
