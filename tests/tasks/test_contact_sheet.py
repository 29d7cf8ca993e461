"""A contact sheet shows the tiles themselves, each where it belongs."""

import numpy as np
import torch

from nic.tasks.augment import augment, examples
from nic.tasks.contact_sheet import GAP_PX, GOOD, Caption, TileRow, augmentation_sheet, contact_sheet

TILES = np.random.default_rng(0).integers(40, 220, (3, 16, 16, 3)).astype(np.uint8)


def test_each_tile_is_in_its_row_and_column() -> None:
    rows = [TileRow("first", TILES), TileRow("second", TILES[::-1], tuple(Caption(name, GOOD) for name in "abc"))]
    figure = contact_sheet(rows, "sheet")
    figure.canvas.draw()
    for axes, row in zip(figure.axes, rows, strict=True):
        shown = np.asarray(axes.images[0].get_array())
        for place, tile in enumerate(row.tiles):
            left = place * (16 + GAP_PX)
            assert np.array_equal(shown[:16, left : left + 16], tile)
        assert [text.get_text() for text in axes.texts] == [row.label, *(c.text for c in row.captions)]
    assert figure.get_suptitle() == "sheet"


def test_rows_of_unequal_length_show_tiles_of_one_size() -> None:
    figure = contact_sheet([TileRow("long", TILES), TileRow("short", TILES[:1])], "sheet")
    long, short = (axes.get_window_extent() for axes in figure.axes)
    assert np.isclose(long.width / 3, short.width)
    assert np.isclose(long.height, short.height)


def test_the_augmentation_sheet_shows_originals_above_what_training_sees() -> None:
    seen = examples(TILES, "heavy", 2, seed=0)
    axes = augmentation_sheet({"task": TILES}, {"task": seen}, "heavy").axes
    assert [a.texts[0].get_text() for a in axes] == ["task\nas it is", "augmented", "augmented"]
    assert np.array_equal(np.asarray(axes[0].images[0].get_array())[:16, :16], TILES[0])
    assert np.array_equal(np.asarray(axes[2].images[0].get_array())[:16, :16], seen[1, 0])


def test_examples_are_what_augment_gives() -> None:
    pixels = torch.from_numpy(TILES).permute(0, 3, 1, 2) / 255
    expected = augment(pixels, "light", torch.Generator().manual_seed(3)).permute(0, 2, 3, 1).numpy()
    assert np.abs(examples(TILES, "light", 1, seed=3)[0] / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(examples(TILES, "none", 2, seed=0), np.stack([TILES, TILES]))
