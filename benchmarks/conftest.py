"""Settings benchmarks share. Run them with `pytest benchmarks --benchmark-enable`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "agreement")]  # builders, and the plain serving loop


@pytest.fixture(scope="session")
def azure_trace() -> Path:
    """The real Azure conversation trace of 2023: 12,337 requests in 35 minutes."""
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("SIM_DATA is not set: it names the folder with the measured data")
    return Path(folder) / "traces" / "azure2023_conv.csv.gz"
