"""Only what lies under the roots is opened, however it is named."""

from pathlib import Path

import pytest

from nic.errors import OutsideRoots
from nic.serving.confined import opened, path_of


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "slides" / "deep").mkdir(parents=True)
    (tmp_path / "slides" / "a.svs").touch()
    (tmp_path / "secret.svs").touch()
    (tmp_path / "slides-of-others").mkdir()
    (tmp_path / "slides" / "out.svs").symlink_to(tmp_path / "secret.svs")
    (tmp_path / "slides" / "in.svs").symlink_to(tmp_path / "slides" / "a.svs")
    (tmp_path / "slides" / "folder").symlink_to(tmp_path)
    return tmp_path / "slides"


@pytest.mark.parametrize("name", ["a.svs", "in.svs", "deep/../a.svs", "not-there.svs"])
def test_paths_under_a_root_are_opened(roots: Path, name: str) -> None:
    assert opened(path_of(str(roots / name)), (roots,)).parent == roots


@pytest.mark.parametrize(
    "place",
    [
        "{}/../secret.svs",
        "{}/out.svs",
        "{}/folder/secret.svs",
        "{}-of-others/b.svs",
        "/etc/passwd",
        "file://{}/a.svs",
        "http://127.0.0.1/a.svs",
        "s3://bucket/a.svs",
        "{}/a.svs\0.txt",
        "a.svs",
    ],
)
def test_nothing_else_is(roots: Path, place: str) -> None:
    with pytest.raises(OutsideRoots) as refused:
        opened(path_of(place.format(roots)), (roots,))
    assert str(roots.parent) not in str(refused.value)
