"""What an ablation compares is checked before anything is trained."""

import pytest

from nic.ablation.ablation_cells import CellTraining
from nic.ablation.arms import arms_of
from nic.ablation.scope import Scope
from nic.errors import StudyError


def test_a_network_that_is_named_twice_is_trained_once() -> None:
    scope = Scope.named("grid-cnn", ["attention-mil", "grid-cnn"], 2, 1, [])
    assert scope.networks_on("all-tuned") == ("grid-cnn", "attention-mil")
    assert scope.networks_on("vae") == ("grid-cnn",)
    assert len(scope.cells("all-tuned", 0, ["a", "b"])) == 2 * 2 * 2
    assert {cell.network for cell in scope.cells("all-tuned", 1, ["a"])} == {"grid-cnn"}


@pytest.mark.parametrize(
    ("network", "seeds", "encoder_seeds", "message"),
    [
        ("grid", 1, 1, "no network 'grid'"),
        ("grid-cnn", 0, 1, "seeds=0; wanted 1 or more"),
        ("grid-cnn", 1, 0, "encoder_seeds=0; wanted 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(network: str, seeds: int, encoder_seeds: int, message: str) -> None:
    with pytest.raises(StudyError, match=f"^{message}"):
        Scope.named(network, [], seeds, encoder_seeds, [])


def test_encoders_that_are_named_have_further_seeds_where_a_seed_changes_them() -> None:
    arms = arms_of(["a", "b", "c"], None)
    scope = Scope.named("grid-cnn", [], 1, 2, ["all-no-colour", "mean-rgb", "a"])
    assert [arm for arm, seed in scope.trainings(arms) if seed] == ["a", "all-no-colour"]


def test_fewer_than_no_epochs_are_refused() -> None:
    with pytest.raises(StudyError, match="epochs=-1; wanted 1 or more, or 0"):
        CellTraining(-1, 1e-2, 0)
