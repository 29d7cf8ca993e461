"""The entry points of MLproject. In a Python without the project's packages they end with one sentence that says so."""

import sys
from importlib.util import find_spec

PACKAGES = ("mlflow", "numpy", "torch", "tyro")
if sys.version_info < (3, 11) or not all(map(find_spec, PACKAGES)):
    missing = ", ".join(name for name in PACKAGES if not find_spec(name)) or "Python 3.11"
    sys.exit(
        f"{sys.executable}: no {missing} here; make .venv with `make .venv/installed` and activate it, "
        "or leave out --env-manager local"
    )
