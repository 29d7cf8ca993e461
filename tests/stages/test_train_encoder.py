"""The folder of a training: kept from a killed one, and never shared by two."""

from pathlib import Path

from nic.stages.train_encoder import exclusive_folder


def test_two_trainings_of_one_encoder_at_once_share_no_folder(tmp_path: Path) -> None:
    with exclusive_folder(tmp_path / "key") as first, exclusive_folder(tmp_path / "key") as second:
        assert first != second
        first.mkdir()
        (first / "a.ckpt").write_text("first")
        assert list(second.iterdir()) == []
    assert not first.exists()
    assert not second.exists()


def test_a_training_goes_on_with_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "a.ckpt").write_text("half")
    with exclusive_folder(tmp_path / "key") as folder:
        assert (folder / "a.ckpt").read_text() == "half"
