"""An imported encoder is measured on the tile tasks whose images are fine enough for it."""

from pathlib import Path

import pytest

from nic.stages.import_encoder import fine_enough
from nic.tasks.tile_task import TileTask


def task(name: str, mpp: float) -> TileTask:
    return TileTask(name, ("no", "yes"), mpp, Path())  # type: ignore[arg-type]


def test_tasks_with_coarser_images_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    fine, coarse = task("mitosis", 0.25), task("metastasis", 0.97)
    assert fine_enough([fine, coarse], tile_mpp=0.5) == [fine]
    assert "metastasis: images at 0.97 um/px, wanted 0.5 or finer" in capsys.readouterr().out
    assert fine_enough([fine, coarse], tile_mpp=1.0) == [fine, coarse]
