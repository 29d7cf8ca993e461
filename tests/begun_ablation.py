"""An ablation that has trained nothing yet, on a study of made files."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from nic.ablation.ablation_cells import CellTraining
from nic.ablation.arms import arms_of, chosen
from nic.ablation.scope import Scope
from nic.stages.ablation import Ablation
from nic.study import read_study


def begun_ablation(
    folder: Path, tasks: Mapping[str, Sequence[str]], encoders: Sequence[str], splits: str = "train,external"
) -> Ablation:
    """tasks: class names by task. The endpoints are score, a number, and pattern, of classes a, b, c."""
    for task, classes in tasks.items():
        for name in classes:
            (folder / task / name).mkdir(parents=True)
            Image.new("RGB", (64, 64)).save(folder / task / name / "tile.png")
    rows = [f"p{n},s{n}.tif,{split},{n}.5,{'abc'[n % 3]}" for n, split in enumerate(splits.split(",") * 6)]
    (folder / "made.csv").write_text("\n".join(["patient,slide,split,score,pattern", *rows]))
    (folder / "study.yaml").write_text(
        "name: made\ncohorts: {made: made.csv}\n"
        f"tile_tasks: [{', '.join(f'{{name: {task}, path: {task}, mpp: 1}}' for task in tasks)}]\n"
        "endpoints:\n- {name: score, cohort: made, kind: regression, column: score}\n"
        "- {name: pattern, cohort: made, kind: multiclass, column: pattern, classes: [a, b, c]}\n"
    )
    study = read_study(folder / "study.yaml")
    cohorts = {name: entry.read() for name, entry in study.cohorts.items()}
    arms = chosen(arms_of(list(tasks), None), encoders)
    scope, training = Scope.named("grid-cnn", [], 1, 1, []), partial(CellTraining, 1, 1e-2)
    return Ablation(folder / "study.yaml", study, cohorts, arms, scope, training, {}, folder)
