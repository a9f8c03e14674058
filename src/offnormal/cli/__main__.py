"""`python -m offnormal.cli`: the same as the `offnormal` command."""

import sys

from offnormal.cli import main

sys.exit(main())
