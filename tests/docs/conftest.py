"""The world that a reader of the documents is assumed to have."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder
