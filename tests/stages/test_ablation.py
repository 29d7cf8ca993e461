"""What an ablation has left to train."""

from pathlib import Path

from begun_ablation import begun_ablation

from nic.ablation.arms import EncoderOfArm


def test_networks_on_equal_encoders_are_trained_once(tmp_path: Path) -> None:
    """The search for task weights often ends at equal weights: all-tuned is then all-uniform."""
    ablation = begun_ablation(tmp_path, {"mitosis": ["other", "mitosis"], "tissue": ["a", "b"]}, ["all-uniform"])
    equal, other = (EncoderOfArm("nic-encoder/1", sha256, 1.0, reused=False) for sha256 in ("a" * 64, "b" * 64))
    for size, encoder in enumerate((equal, other)):
        codes = ablation.codes("made", encoder)
        codes.mkdir(parents=True)
        (codes / "s0.h5").write_bytes(bytes(size))
    batches = ablation.lacking_networks({("all-uniform", 0): equal, ("all-tuned", 0): equal, ("vae", 0): other})
    assert [(cell.encoder, cell.endpoint) for batch in batches for cell, _ in batch.files] == [
        ("all-uniform", "score"),
        ("all-uniform", "pattern"),
        ("vae", "score"),
        ("vae", "pattern"),
    ]
    files = {(cell.encoder, cell.endpoint): file for cell, file in ablation.files.items()}
    assert files["all-tuned", "score"] == files["all-uniform", "score"] != files["vae", "score"]


def test_without_further_seeds_there_is_nothing_to_measure(tmp_path: Path) -> None:
    ablation = begun_ablation(tmp_path, {"mitosis": ["other", "mitosis"]}, ["random"])
    ablation.measure({})
    assert not ablation.files
    assert not (tmp_path / "codes").exists()
