"""What the stages of an endpoint read, as digests by name. A stage with equal inputs would give the same result."""

from collections.abc import Sequence
from pathlib import Path

from nic.study import Study, read_study
from nic.tracking.digests import codes_digest, digest, file_sha256
from nic.tracking.registry import PATIENT_MODEL, encoder_digest, find_version, serving_digest
from nic.tracking.runs import SERVING


def training_inputs(study_file: Path, endpoint: str, codes: Path, encoder: str, split_by: str) -> dict[str, str]:
    """split_by: label, site, or a column of the cohort's table, which is then an input too."""
    labels = _labels(read_study(study_file), endpoint, () if split_by in ("label", "site") else (split_by,))
    made_of = {"codes": codes_digest(codes), "encoder": encoder_digest(encoder)}
    return {**labels, **made_of, SERVING: serving_digest(PATIENT_MODEL)}


def evaluation_inputs(
    study_file: Path, endpoint: str, codes: Path, model: str, subgroups: Sequence[str]
) -> dict[str, str]:
    """subgroups: columns of the cohort's table."""
    study = read_study(study_file)
    labels = _labels(study, endpoint, [*study.endpoint(endpoint).covariates, *subgroups])
    truth = file_sha256(study.truth) if study.truth and study.truth.is_file() else ""
    made_of = {"codes": codes_digest(codes), "model": find_version(model).uri}
    results = study.endpoint(endpoint).published
    published = {"published": digest({"results": [result.model_dump() for result in results]})} if results else {}
    return {**labels, **made_of, "truth": truth, "synthetic": str(study.phantom is not None), **published}


def comparison_inputs(
    study_file: Path, endpoint: str, model: str, codes: Path, other: str, other_codes: Path
) -> dict[str, str]:
    folders = {"codes": codes_digest(codes), "other_codes": codes_digest(other_codes)}
    versions = {"model": find_version(model).uri, "other": find_version(other).uri}
    return {**_labels(read_study(study_file), endpoint), **folders, **versions}


def cohort_file(study_file: Path, endpoint: str) -> dict[str, Path]:
    """Where the input `cohort` lies: the table of the endpoint's cohort."""
    study = read_study(study_file)
    return {"cohort": Path(study.cohorts[study.endpoint(endpoint).cohort].table)}


def _labels(study: Study, endpoint: str, columns: Sequence[str] = ()) -> dict[str, str]:
    """columns: of the cohort's table, beside those of the endpoint."""
    entry = study.endpoint(endpoint)
    return entry.read_from(study.cohorts[entry.cohort].read(), columns)
