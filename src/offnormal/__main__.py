"""`python -m offnormal` is the `offnormal` command."""

import sys

from offnormal.cli import main

sys.exit(main())
