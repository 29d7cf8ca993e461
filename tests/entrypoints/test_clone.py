"""A project from a git address: paths that would be lost with the clone are refused before the work."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrypoints.cli import check_paths, is_temporary
from nic.errors import RequestRefused


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    out: Path = Path("/out")
    slides: str = ""
    seed: int = 0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "phantom.yaml").touch()
    return tmp_path


def test_a_clone_is_a_folder_that_tempfile_made() -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert is_temporary(Path(folder).resolve())
        assert not is_temporary(Path(folder).resolve() / "nic")
    assert not is_temporary(Path("/home/ward/nic"))


@pytest.mark.parametrize(
    "config",
    [Config(), Config(slides="/share/*.svs"), Config(slides="s3://archive/breast"), Config(Path("/share/mine.yaml"))],
)
def test_paths_that_are_absolute_or_in_the_repository_pass(clone: Path, config: Config) -> None:
    check_paths(config, clone)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(out=Path("work/codes")), "out=work/codes: would be written into the clone .* -P out=/"),
        (Config(study=Path("studies/mine.yaml")), "study=studies/mine.yaml: is not in the repository.* -P study=/"),
        (Config(slides="slides/*.svs"), "slides=.* is not in the repository"),
    ],
)
def test_a_path_that_leads_into_the_clone_is_refused(clone: Path, config: Config, message: str) -> None:
    with pytest.raises(RequestRefused, match=message):
        check_paths(config, clone)
