"""No two patients share the file of a map, and each map names its slide."""

import io
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nic.serving.map_files import file_names, mapped_slides, of_slide, png_of

PLAIN = [("P-1", "s.1"), ("Müller", "HE_2")]
ODD = [
    [("a/b", "s"), ("a_b", "s"), ("a b", "s"), ("a\\b", "s")],
    [("a.b", "c"), ("a", "b.c")],
    [("A1", "s"), ("a1", "s")],
    [("u\u0308", "s"), ("\u00fc", "s")],
    [("x" * 300, "s"), ("x" * 299 + "y", "s"), ("日" * 300, "日" * 300)],
    [("..", "s"), (".", "s"), ("", "s"), ("\udcff", "s")],
]


def test_plain_names_are_kept() -> None:
    assert list(file_names(PLAIN).values()) == ["P-1.s.1", "Müller.HE_2"]


@pytest.mark.parametrize("keys", ODD)
def test_odd_names_are_files_of_their_own(keys: list[tuple[str, ...]]) -> None:
    names = list(file_names(keys).values())
    for name in names:
        assert not set(name) & set('/\\ :*?"<>|\0')
        assert not name.startswith(".")
        assert len(name.encode()) < 200
    assert all(a.casefold() != b.casefold() for a, b in combinations(names, 2))


def test_an_odd_name_has_the_same_file_in_another_cohort() -> None:
    assert file_names([("a/b", "s")])["a/b", "s"] != file_names([("a_b", "s")])["a_b", "s"]


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), unique=True, max_size=9))
def test_each_key_has_a_file_name_of_its_own(keys: list[tuple[str, ...]]) -> None:
    names = file_names(keys)
    assert len(set(names.values())) == len(keys)


def png(slide: str | None) -> bytes:
    picture = Image.new("RGB", (3, 2), (200, 30, 90))
    if slide is not None:
        return png_of(picture, slide)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_png_names_its_slide() -> None:
    maps = [png("slide 1"), png("slide 3")]
    assert mapped_slides(maps, ["a", "b", "c"], "png") == ["a", "c"]
    named = of_slide(maps[1], "c", "png")
    assert Image.open(io.BytesIO(named)).info["slide"] == "c"
    assert Image.open(io.BytesIO(named)).tobytes() == Image.open(io.BytesIO(maps[1])).tobytes()


def test_a_png_of_an_older_model_is_named_by_order_or_number() -> None:
    assert mapped_slides([png(None)] * 2, ["a", "b"], "png") == ["a", "b"]
    assert mapped_slides([png(None)] * 2, ["a", "b", "c"], "png") == ["map 1", "map 2"]


def test_geojson_names_its_slide() -> None:
    maps = [b'{"type":"FeatureCollection","nic":{"slide": "slide 2", "unit": "score"},"features":[\n]}\n']
    assert mapped_slides(maps, ["a", 'b"2'], "geojson") == ['b"2']
    assert b'"nic":{"slide": "b\\"2", "unit"' in of_slide(maps[0], 'b"2', "geojson")
