"""What a registered patient model carries beside its graphs."""

import tempfile
from pathlib import Path

from nic.patients.familiarity import Familiarity
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.served_model import ServedModel
from nic.serving.smoke import write_smoke


def write_companions(patient: Path, encoder: Path | None, familiarity: Familiarity) -> dict[str, Path]:
    """Files by artifact name, written beside the patient model's graph; no smoke answer where pixels are not taken."""
    files = {"familiarity": patient.with_name("familiarity.npz")}
    familiarity.save(files["familiarity"])
    if encoder is None:
        return files
    files["smoke"] = patient.with_name("smoke.json")
    with tempfile.TemporaryDirectory() as folder:
        cache = CodesCache(Path(folder), most_bytes=0)
        model = ServedModel.load({"patient": patient, "encoder": encoder}, cache, Limits.none(), "unregistered")
        write_smoke(model, files["smoke"])
    return files
