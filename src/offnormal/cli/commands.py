"""A command whose complaints about flags are in our words, not in those of the library that reads them."""

from __future__ import annotations

import re
from typing import Any

import typer
import typer.core

_OURS = (
    (r"^Value error, ", ""),
    (r"Input should be a valid integer.*", "it must be a whole number."),
    (r"Input should be a valid number.*", "it must be a number."),
    (r"Input should be a finite number.*", "it must be a finite number."),
    (r"Input should be greater than or equal to (\S+)", r"it must be at least \1."),
    (r"Input should be less than or equal to (\S+)", r"it must be at most \1."),
    (r"Input should be greater than (\S+)", r"it must be above \1."),
    (r"Input should be less than (\S+)", r"it must be below \1."),
    (r"Input should be (?:a |an )?(.+)", r"it must be \1."),
)


class Command(typer.core.TyperCommand):
    """A command that says what a flag must be."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the flags."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = in_our_words(error.message)
            raise


def in_our_words(complaint: str) -> str:
    """Return what a flag must be; a complaint that is not a validator's stays as it is.

    >>> in_our_words("Input should be greater than or equal to 1")
    'it must be at least 1.'
    """
    for pattern, words in _OURS:
        complaint, found = re.subn(pattern, words, complaint, flags=re.DOTALL)
        if found:
            break
    return complaint
