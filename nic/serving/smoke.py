"""A model that does not answer its reference as it did when it was registered is not served."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nic.errors import SmokeFailed
from nic.serving.cache import CodesCache
from nic.serving.codes import Codes
from nic.serving.limits import Limits
from nic.serving.served_model import ServedModel, Wishes

TOLERANCE = 1e-3
"""Of the answer, or of 1 where it is smaller: another processor or a GPU rounds otherwise, a wrong graph is far off."""


def check_reference(model: ServedModel, folder: Path) -> None:
    """Ask what request.json asks. Raises SmokeFailed when the model answers otherwise than answers.json says."""
    rows = pd.DataFrame(json.loads((folder / "request.json").read_text()))
    rows["slide"] = [str(folder / name) for name in rows["slide"]]
    [wanted] = (row["prediction"] for row in json.loads((folder / "answers.json").read_text()))
    with tempfile.TemporaryDirectory() as made:  # not the server's cache: the answer is to be computed each time
        codes = Codes(model.codes.reading, CodesCache(Path(made), most_bytes=0), Limits.none())
        [answer] = replace(model, codes=codes).answer(rows, Wishes()).to_dict("records")
    if answer["status"] != "ok":
        raise SmokeFailed(f"the reference was not answered: {answer['reason']}")
    found = float(answer["prediction"])
    if not abs(found - wanted) <= TOLERANCE * max(1.0, abs(wanted)):
        raise SmokeFailed(f"the reference's answer is {found:.6g}, at registration it was {wanted:.6g}; not served")
