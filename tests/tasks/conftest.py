"""A small task of labelled images, in the layouts that its tests want."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

MakeFolder = Callable[..., Path]


@pytest.fixture
def image_folder(tmp_path: Path) -> MakeFolder:
    """Makes <name>/<class>/slide<i % 4>__<i>.png, noise, brighter in the first class."""

    def make(
        name: str = "task", side_px: int = 128, per_class: int = 12, classes: tuple[str, ...] = ("a", "b")
    ) -> Path:
        rng = np.random.default_rng(0)
        for label, folder in enumerate(classes):
            (tmp_path / name / folder).mkdir(parents=True)
            for i in range(per_class):
                image = rng.integers(40 * label, 200, (side_px, side_px, 3)).astype(np.uint8)
                cv2.imwrite(str(tmp_path / name / folder / f"slide{i % 4}__{i}.png"), image)
        return tmp_path / name

    return make
