"""An area outlined on a slide, whatever file it comes from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError

UNLABELLED = "None"
"""What ASAP calls an annotation of no group; so do we for all."""
Ring = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Area:
    """label: the annotation's group or class. rings: float [n, 2] (x, y) l0px, its outline and then its holes."""

    label: str
    rings: tuple[Ring, ...]


def ring_of(points: Any, name: str) -> Ring:
    """Corners as [n, 2]. Raises TaskError beginning with `name` for fewer than three, or what is no pair of numbers."""
    try:
        ring = np.array(points, np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"{name}: a corner is no pair of numbers: {error}") from error
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise TaskError(f"{name}: corners {list(ring.shape)}, wanted three or more pairs of finite numbers")
    return ring
