"""The encoders of an ablation: every kind is there, and each task is met equally often."""

from collections import Counter
from pathlib import Path

import pytest

from nic.ablation.arms import arms_of, chosen, subsets
from nic.errors import StudyError

TASKS = ("mitosis", "metastasis", "epithelium", "tissue")


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_subsets_hold_each_task_equally_often_and_none_twice(count: int) -> None:
    tasks = [f"task{number}" for number in range(count)]
    for size in range(1, count + 1):
        of_size = subsets(tasks, size)
        assert all(len(set(some)) == len(some) == size for some in of_size)
        assert len(set(of_size)) == len(of_size)
        assert len(set(Counter(task for some in of_size for task in some).values())) == 1


def test_four_tasks_make_the_encoders_of_the_paper() -> None:
    groups = Counter(arm.group for arm in arms_of(TASKS, None))
    assert groups == {"reference": 2, "unsupervised": 3, "one task": 4, "several tasks": 6, "all tasks": 3}
    by_name = {arm.name: arm for arm in arms_of(TASKS, None)}
    assert by_name["mitosis+metastasis"].parameters == {"tasks": "mitosis,metastasis", "weighting": "uniform"}
    assert by_name["all-no-colour"].parameters["augmentation"] == "no-colour"
    assert not by_name["mean-rgb"].learns
    assert by_name["vae"].tasks == ()


def test_a_study_of_one_task_compares_it_as_all_tasks() -> None:
    assert [arm.name for arm in arms_of(["mitosis"], None) if arm.tasks] == [
        "all-uniform",
        "all-tuned",
        "all-no-colour",
    ]


def test_published_encoders_are_taken_from_their_folder_or_missed(tmp_path: Path) -> None:
    (tmp_path / "multitask-4.h5").touch()
    with pytest.raises(StudyError, match=r"bigan\.h5: no such file"):
        arms_of(TASKS, tmp_path)
    (tmp_path / "bigan.h5").touch()
    assert [arm.source for arm in arms_of(TASKS, tmp_path)][-2:] == [
        tmp_path / "multitask-4.h5",
        tmp_path / "bigan.h5",
    ]


def test_encoders_are_chosen_by_name_or_refused() -> None:
    arms = arms_of(TASKS, None)
    assert [arm.name for arm in chosen(arms, ["vae", "all-tuned"])] == ["vae", "all-tuned"]
    assert chosen(arms, []) == arms
    with pytest.raises(StudyError, match="no encoder 'vea'; there are mean-rgb, random, vae"):
        chosen(arms, ["vea"])
