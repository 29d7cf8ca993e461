"""A store that an earlier commit of nic left: its codes are kept, its models answer, are traced, measured, promoted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_study import PATIENTS, write_study

pytestmark = pytest.mark.slow  # four minutes: every step starts an entry point

ROOT = Path(__file__).resolve().parents[2]
EARLIER = "4719740fdfc4fe9b81566fa8e59434bfd06be558"
"""The last commit whose files have the settings of a compression as attributes of their own."""
MODEL = "models:/nic-score/1"
TISSUE = {"tissue": "20", "min-tissue": "0.5", "exclude": "pen,dark"}
"""How its slides are compressed: in nothing as by default."""


@dataclass
class Store:
    """folder: of the study, its codes and its MLflow store."""

    folder: Path

    def run(self, tree: Path, entry_point: str, **options: object) -> str:
        """What an entry point of a checkout prints."""
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        environment = os.environ | {
            "PYTHONPATH": str(tree),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "MLFLOW_EXPERIMENT_NAME": "nic",
        }
        command = [sys.executable, "-m", f"entrypoints.{entry_point}", *words]
        ran = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
        return ran.stdout

    def compress(self, tree: Path) -> str:
        options = {name.replace("-", "_"): value for name, value in TISSUE.items()}
        return self.run(tree, "compress", slides="cohort.csv", encoder="models:/nic-encoder/1", out="codes", **options)

    def predict(self, tree: Path, out: str, **what: str) -> pd.DataFrame:
        self.run(tree, "predict", model=MODEL, out=out, **what)
        return pd.read_csv(self.folder / out)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A small study, from its encoder to its answers, by the earlier commit."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "cat-file", "-e", EARLIER], capture_output=True).returncode:
        pytest.skip(f"{EARLIER[:7]} is not in this clone: git fetch --unshallow")
    folder, earlier = tmp_path_factory.mktemp("older"), tmp_path_factory.mktemp("trees") / "earlier"
    write_study(folder)
    gates = {"nic-score": {"figure": "external.spearman", "at_least": 0.0}}
    (folder / "gates.yaml").write_text(yaml.safe_dump(gates))
    subprocess.run([*git, "worktree", "add", "--detach", str(earlier), EARLIER], check=True, capture_output=True)
    try:
        made = Store(folder)
        made.run(earlier, "train_encoder", study="study.yaml", work="work", objective="mean-rgb")
        made.compress(earlier)
        of = {"study": "study.yaml", "endpoint": "score", "codes": "codes"}
        made.run(earlier, "train_patients", **of, encoder="models:/nic-encoder/1", folds=2, epochs=12)
        made.run(earlier, "evaluate", **of, model=MODEL)
        made.predict(earlier, "before.csv", slides="cohort.csv")
        yield made
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(earlier)], check=True, capture_output=True)


def test_codes_of_an_earlier_commit_are_reused(store: Store) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in (store.folder / "codes").glob("*.h5")}
    assert f"0 compressed, {PATIENTS} reused" in store.compress(ROOT)
    assert {file.name: file.stat().st_mtime_ns for file in (store.folder / "codes").glob("*.h5")} == before


@pytest.mark.parametrize("what", [{"slides": "cohort.csv"}, {"slides": "cohort.csv", "codes": "codes"}])
def test_a_model_of_an_earlier_commit_answers_as_it_did(store: Store, what: dict[str, str]) -> None:
    before, after = pd.read_csv(store.folder / "before.csv"), store.predict(ROOT, "after.csv", **what)
    assert after["status"].tolist() == before["status"].tolist() == ["ok"] * PATIENTS
    assert after["patient"].tolist() == before["patient"].tolist()
    # Codes lie in files as float16; from slides they are made anew.
    assert (after["prediction"] - before["prediction"]).abs().max() < (2e-3 if "codes" in what else 1e-6)


@pytest.mark.parametrize("of", [MODEL, "before.csv"])
def test_what_an_earlier_commit_registered_is_traced(store: Store, of: str) -> None:
    printed = store.run(ROOT, "lineage", of=of)
    assert "nic-score/1" in printed
    assert "What no longer exists: nothing" in printed


def test_a_model_of_an_earlier_commit_is_measured_and_promoted(store: Store) -> None:
    printed = store.run(ROOT, "evaluate", study="study.yaml", endpoint="score", codes="codes", model=MODEL)
    assert "external" in printed
    assert "nic-score version 1: promoted" in store.run(ROOT, "promote", model=MODEL, gates="gates.yaml")
