"""Google's Task Library (tflite-support 0.4.4, given up), in the environment that `make task-library` makes for it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeslim"
PYTHON = _CACHE / "tflite-support-0.4.4" / "bin" / "python"

_PRELOAD = """
import ctypes, json, sys
import libusb_package
ctypes.CDLL(str(libusb_package.get_library_path()), ctypes.RTLD_GLOBAL)
"""

DESCRIBE = """
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
print(json.dumps([json.loads(shown.get_metadata_json()), shown.get_packed_associated_file_list(),
                  shown.get_associated_file_buffer("edgeslim_labels.txt").decode()]))
"""

# Pixels (N, H, W, 3) in a .npy file → per image {label: score} of every class that comes back, best first.
CLASSIFY = """
import numpy
from tflite_support.task import vision
classifier = vision.ImageClassifier.create_from_file(sys.argv[1])
found = (classifier.classify(vision.TensorImage.create_from_array(image)) for image in numpy.load(sys.argv[2]))
print(json.dumps([[[c.index, c.category_name, c.score] for c in one.classifications[0].categories] for one in found]))
"""


def run(script: str, *arguments: object) -> Any:
    """The JSON that ``script`` prints. Skips the test where there is no such environment."""
    if not (PYTHON.parents[1] / ".ready").is_file():
        pytest.skip("no environment for tflite-support 0.4.4: make task-library (it wants Python 3.11)")
    done = subprocess.run(
        [PYTHON, "-I", "-c", _PRELOAD + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout.splitlines()[-1])
