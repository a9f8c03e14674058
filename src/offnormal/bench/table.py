"""What a bench table is: a question, and who answers it on which data under which protocols."""

from __future__ import annotations

from dataclasses import dataclass

from offnormal.bench.contenders import Contender
from offnormal.bench.datasets import DataSet, data_set
from offnormal.bench.protocols import Protocol

SEEDS = 5
"""Runs of a contender where neither it nor its table says otherwise."""


@dataclass(frozen=True)
class Table:
    """A question, and who answers it on which data under which protocols.

    Attributes
    ----------
    name : str
    title : str
    about : str
        What the table is to show, in a sentence or two.
    data : tuple of str
    protocols : tuple of Protocol
    contenders : tuple of Contender
    seeds : int
        Runs of a contender that does not say otherwise: 0, 1, … seeds − 1.
    """

    name: str
    title: str
    about: str
    data: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    contenders: tuple[Contender, ...]
    seeds: int = SEEDS

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """Return the data sets themselves."""
        return tuple(map(data_set, self.data))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Return the sets of images -> their classes that take part, each of which is a data set."""
        groups: dict[str, list[str]] = {}
        for data in self.data_sets:
            if data.group:
                groups.setdefault(data.group, []).append(data.name)
        return {group: tuple(names) for group, names in groups.items()}
