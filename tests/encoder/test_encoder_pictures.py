"""The sheet asks once for every class, shows neighbours of other slides, and colours what can be judged."""

import numpy as np

from nic.encoder.encoder_pictures import COLUMNS, NamedTiles, neighbour_sheet
from nic.tasks.contact_sheet import BAD, GOOD, PLAIN


def test_each_class_has_one_query_whose_neighbours_are_judged() -> None:
    """Two tasks with two classes; a code is the class of the tile, so that the nearest are of the same class."""
    rng = np.random.default_rng(0)
    kind = np.arange(80) % 4
    task, name = np.array(["a", "a", "b", "b"])[kind], np.array(["no", "yes", "no", "yes"])[kind]
    groups = rng.integers(6, size=80).astype(str)
    tiles = rng.integers(0, 255, (80, 8, 8, 3)).astype(np.uint8)
    codes = (np.eye(4)[kind] + 0.01 * rng.normal(size=(80, 4))).astype(np.float32)
    figure = neighbour_sheet(NamedTiles(tiles, task, name, groups), codes, seed=0)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["a\nno", "a\nyes", "b\nno", "b\nyes"]
    for axes in figure.axes:
        query, *near = axes.texts[1:]
        assert query.get_text() == "query"
        assert len(near) == COLUMNS
        assert {text.get_color() for text in near} == {GOOD}


def test_another_class_is_red_and_another_task_is_not_judged() -> None:
    named = NamedTiles(
        np.zeros((3, 8, 8, 3), np.uint8),
        np.array(["a", "a", "b"]),
        np.array(["no", "yes", "no"]),
        np.array(list("123")),
    )
    figure = neighbour_sheet(named, np.array([[1, 0], [1, 0.1], [1, 0.5]], np.float32), seed=0)
    captions = [(text.get_text(), text.get_color()) for text in figure.axes[0].texts[2:]]
    assert captions == [("yes", BAD), ("b:\nno", PLAIN)]
