"""`python -m offnormal` is the `offnormal` command."""

from offnormal.cli import entry

entry()
