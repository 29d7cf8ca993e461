"""A registered model answers its own reference request, in a process that has only what the model brings along.

    python registry/reference_answers.py models:/nic-<endpoint>/<version> <folder of the reference>

Prints JSON: `answers`, `load_s`, and `answer_s`, the seconds of the second answer.
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter

import mlflow
import pandas as pd


def answer(uri: str, folder: Path) -> dict[str, object]:
    """Load as the server loads, then answer twice: the first answer also warms up."""
    rows = pd.DataFrame(json.loads((folder / "request.json").read_text()))
    rows["slide"] = [str(folder / name) for name in rows["slide"]]
    start = perf_counter()
    model = mlflow.pyfunc.load_model(uri)
    loaded = perf_counter()
    model.predict(rows)
    warm = perf_counter()
    answers = model.predict(rows)
    records = json.loads(answers.to_json(orient="records", double_precision=15))
    return {"answers": records, "load_s": loaded - start, "answer_s": perf_counter() - warm}


if __name__ == "__main__":
    os.environ.pop("NIC_ANSWERS_LOG", None)  # this request is of no patient
    print(json.dumps(answer(sys.argv[1], Path(sys.argv[2]))))
