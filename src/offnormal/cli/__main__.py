"""`python -m offnormal.cli`: the same as the `offnormal` command."""

from offnormal.cli import entry

entry()
