"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: OFFNORMAL_DATA, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("OFFNORMAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}; set OFFNORMAL_DATA to their folder")
    return folder
