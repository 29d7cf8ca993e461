"""The entry points of MLproject. Imported by a Python that lacks the project's packages, it says so in one sentence."""

import sys
from importlib.util import find_spec

NEEDED = ("mlflow", "numpy", "torch", "tyro")
if sys.version_info < (3, 11) or not all(map(find_spec, NEEDED)):
    missing = ", ".join(name for name in NEEDED if not find_spec(name)) or "Python 3.11"
    sys.exit(
        f"{sys.executable}: no {missing} here; make .venv with `make .venv/installed` and activate it, "
        "or leave out --env-manager local"
    )
