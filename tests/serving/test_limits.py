"""The operator sets the limits of a server, in variables that are parsed strictly."""

from pathlib import Path

import pytest

from nic.errors import SettingError
from nic.serving.limits import Limits
from nic.serving.roots import path_of, resolve


def test_roots_come_from_the_environment_or_are_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = tmp_path / "slides"
    roots.mkdir()
    (roots / "a.svs").touch()
    monkeypatch.chdir(roots)
    limits = Limits.from_environment({})
    assert limits.roots == (roots,)
    assert resolve(path_of("a.svs"), limits.roots) == roots / "a.svs"
    set_up = Limits.from_environment({"NIC_SLIDE_ROOTS": f"{roots}:{roots.parent}/other", "NIC_MAX_ROWS": "7"})
    assert set_up.roots == (roots, roots.parent / "other")
    assert set_up.rows == 7


@pytest.mark.parametrize("text", ["many", "0", "-3", "nan"])
def test_a_limit_that_is_not_above_0_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingError, match=f"NIC_MAX_SECONDS={text}: wanted a number"):
        Limits.from_environment({"NIC_MAX_SECONDS": text})
