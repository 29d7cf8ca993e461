"""The source of a stage, kept with its run: a digest of code accounts for nothing where the code itself is gone."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import mlflow
from mlflow.exceptions import MlflowException

from nic.tracking.digests import PINS, PROJECT, code_files, digest

KEPT = "source.zip"
"""Artifact of a run: the files that `code_digest` is of, by their paths in the checkout."""


def keep_source(stage: str) -> None:
    """Log what the stage runs among the artifacts of the active run, some 100 kB."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / KEPT
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for source in [*code_files(stage), PINS]:
                archive.write(source, source.relative_to(PROJECT))
        mlflow.log_artifact(str(file))


def kept_digest(run_id: str) -> str | None:
    """The digest, as `code_digest` takes it, of the source that is kept with a run; None where none can be read."""
    try:
        with TemporaryDirectory() as folder:
            file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=KEPT, dst_path=folder)
            return digest(_digests(Path(file)))
    except (MlflowException, OSError, BadZipFile):
        return None


def _digests(file: Path) -> Mapping[str, str]:
    with ZipFile(file) as archive:
        return {name: sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
