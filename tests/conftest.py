"""Settings every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Compilation and a shared machine make single examples slow now and then; the same examples each
# time keep a failure reproducible on another machine.
settings.register_profile("opb", deadline=None, derandomize=True)
settings.load_profile("opb")


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of measured data, from the environment variable SIM_DATA."""
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("SIM_DATA is not set: it names the folder with the measured data")
    return Path(folder)
