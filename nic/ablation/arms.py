"""The arms of an ablation: which encoders are compared, and what each of them is taught."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nic.errors import StudyError

Group = Literal["reference", "unsupervised", "one task", "several tasks", "all tasks", "published"]
TUNED, UNIFORM, NO_COLOUR = "all-tuned", "all-uniform", "all-no-colour"
UNSUPERVISED = ("vae", "contrastive", "bigan")
PUBLISHED = {"published-multitask-4": "multitask-4.h5", "published-bigan": "bigan.h5"}
"""Files of the encoders that the paper's authors published, by the name of their arm."""


@dataclass(frozen=True)
class Arm:
    """One encoder. tasks: that it is taught; empty for one that sees no labels. parameters: of train_encoder.

    source: file of an encoder that is imported, not trained.
    """

    name: str
    group: Group
    tasks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None

    @property
    def learns(self) -> bool:
        """Whether another seed gives another encoder."""
        return self.source is None and self.name != "mean-rgb"


@dataclass(frozen=True)
class EncoderOfArm:
    """version: registered. seconds: of its training. reused: whether an earlier run trained it."""

    version: str
    sha256: str
    seconds: float
    reused: bool


def arms_of(tasks: Sequence[str], published: Path | None) -> list[Arm]:
    """All arms of a study. tasks: names of its tile tasks. published: folder of the published encoders, or None.

    Raises StudyError when that folder lacks a file.
    """
    equal = {"weighting": "uniform"}
    arms = [Arm(name, "reference", parameters={"objective": name}) for name in ("mean-rgb", "random")]
    arms += [Arm(name, "unsupervised", parameters={"objective": name}) for name in UNSUPERVISED]
    for size in range(1, len(tasks)):
        group: Group = "one task" if size == 1 else "several tasks"
        arms += [Arm("+".join(some), group, some, {"tasks": ",".join(some), **equal}) for some in subsets(tasks, size)]
    every = tuple(tasks)
    arms.append(Arm(UNIFORM, "all tasks", every, equal))
    arms.append(Arm(TUNED, "all tasks", every, {"weighting": "tuned"}))
    arms.append(Arm(NO_COLOUR, "all tasks", every, {**equal, "augmentation": "no-colour"}))
    return arms + ([_published(name, published / file) for name, file in PUBLISHED.items()] if published else [])


def subsets(tasks: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The fewest subsets of a size that hold each task equally often.

    The tasks are written one after the other, again and again, and cut into pieces: of a, b, c, d and 3 these are abc,
    dab, cda, bcd.
    """
    around = list(tasks) * (math.lcm(len(tasks), size) // len(tasks))
    pieces = (set(around[start : start + size]) for start in range(0, len(around), size))
    return [tuple(task for task in tasks if task in piece) for piece in pieces]


def chosen(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    """The arms of these names; all where there are none. Raises StudyError for an unknown name."""
    known = {arm.name: arm for arm in arms}
    if unknown := [name for name in names if name not in known]:
        raise StudyError(f"no encoder {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(arms)


def _published(name: str, file: Path) -> Arm:
    if not file.is_file():
        raise StudyError(f"{file}: no such file; wanted a folder with {', '.join(PUBLISHED.values())}, or published=''")
    return Arm(name, "published", source=file)
