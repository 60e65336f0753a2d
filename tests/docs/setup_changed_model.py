"""The certified model once more, with one number changed."""

import shutil
from pathlib import Path

shutil.copytree("model", "changed")
weights = Path("changed/model.safetensors")
weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
