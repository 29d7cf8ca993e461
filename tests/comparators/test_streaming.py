"""A map that is streamed by tiles, and the gradients of its weights, are those of the whole image, in less memory."""

import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nic.comparators.streaming import ReceptiveField, Window, receptive_field, stream
from nic.errors import EncoderError

BACKGROUND = 0.7
FIELDS = {"strided": (21, 8), "pooled": (18, 4), "dilated": (17, 3), "small": (1, 2)}
"""Side of what a cell sees and distance between cells, counted by hand."""


def stack(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    return {
        "strided": lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 5, 2), nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(8, 8, 3), nn.SiLU()),
            *(nn.Conv2d(8, 12, 3, 2), nn.ReLU(), nn.Conv2d(12, 6, 3, 2)),
        ),
        "pooled": lambda: nn.Sequential(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5), nn.GELU()),
            *(nn.AvgPool2d(3, 2), nn.Conv2d(8, 4, 1)),
        ),
        "dilated": lambda: nn.Sequential(nn.Conv2d(3, 4, 5, dilation=2), nn.ReLU(), nn.Conv2d(4, 5, 5, 3, dilation=2)),
        "small": lambda: nn.Sequential(nn.Conv2d(3, 4, 1, 2)),
    }[name]()


def image_of(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def window_of(image: Tensor) -> Window:
    """The image on a field of background, which is large enough for these tests."""
    beyond = 100
    padded = functional.pad(image, (beyond,) * 4, value=BACKGROUND)
    return lambda top, left, height, width: padded[
        :, beyond + top : beyond + top + height, beyond + left : beyond + left + width
    ]


def whole_map(features: nn.Sequential, image: Tensor, field: ReceptiveField) -> Tensor:
    """All cells of an image at once, padded so that each cell stands in the middle of what it sees."""
    before = (field.size_px - field.stride_px) // 2
    rows, cols = cells_of(image, field)
    after = [
        (n - 1) * field.stride_px + field.size_px - before - side
        for n, side in zip((cols, rows), (image.shape[2], image.shape[1]), strict=True)
    ]
    padded = functional.pad(image, (before, after[0], before, after[1]), value=BACKGROUND)
    return features(padded[None])[0]


def cells_of(image: Tensor, field: ReceptiveField) -> tuple[int, int]:
    return -(-image.shape[1] // field.stride_px), -(-image.shape[2] // field.stride_px)


def loss_of_map(cells: Tensor) -> Tensor:
    """Each cell has a weight of its own, and a gradient that depends on its value."""
    weight = torch.linspace(-1, 1, cells.numel()).view(cells.shape)
    return (weight * cells + cells**2).mean()


def gradients(features: nn.Sequential, cells: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss_of_map(cells), list(features.parameters())))


def assert_equal(streamed: list[Tensor], whole: list[Tensor]) -> None:
    """To 1e-4 of the largest gradient."""
    largest = max(float(gradient.abs().max()) for gradient in whole)
    assert largest > 0
    for ours, theirs in zip(streamed, whole, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-4 * largest


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_what_a_cell_sees(name: str) -> None:
    """Of the middle cells, whose gradients reach as far as their fields do."""
    features, (size_px, stride_px) = stack(name).double(), FIELDS[name]
    assert receptive_field(features) == ReceptiveField(size_px, stride_px)
    image = image_of(80, 80).double().requires_grad_()
    linear = nn.Sequential(*(layer for layer in features if not isinstance(layer, nn.ReLU | nn.MaxPool2d)))
    if name == "pooled":  # its maximum passes the gradient of one pixel alone
        linear.insert(1, nn.AvgPool2d(2))
    cells = linear(image[None])[0].sum(0)
    starts = []
    for row in (1, 2):
        (gradient,) = torch.autograd.grad(cells[row, 1], image, retain_graph=True)
        seen = np.flatnonzero(gradient.abs().sum((0, 2)).numpy())
        assert len(range(seen[0], seen[-1] + 1)) == size_px
        starts.append(seen[0])
    assert starts[1] - starts[0] == stride_px


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("size", "tile_px"), [((64, 64), 32), ((101, 67), 40), ((50, 83), 1000), ((29, 34), 1)])
def test_map_and_gradients_are_those_of_the_whole_image(name: str, size: tuple[int, int], tile_px: int) -> None:
    """Tiles that divide the image, that do not, that are larger than it, and of a single cell."""
    features, image = stack(name), image_of(*size)
    field = receptive_field(features)
    wanted = np.ones(cells_of(image, field), bool)
    streamed, whole = stream(features, window_of(image), wanted, tile_px), whole_map(features, image, field)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-5)
    assert_equal(gradients(features, streamed), gradients(features, whole))


@pytest.mark.parametrize("name", ["strided", "pooled", "dilated"])
def test_an_image_smaller_than_a_field_has_its_cells(name: str) -> None:
    features, image = stack(name), image_of(5, 9)
    field = receptive_field(features)
    streamed = stream(features, window_of(image), np.ones(cells_of(image, field), bool), 16)
    whole = whole_map(features, image, field)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-5)
    assert_equal(gradients(features, streamed), gradients(features, whole))


def test_tiles_without_a_wanted_cell_are_not_computed() -> None:
    """Neither forward nor backward; what is read elsewhere is as before, and so are the gradients of wanted cells."""
    features, image = stack("strided"), image_of(96, 96)
    wanted = np.zeros((12, 12), bool)
    wanted[1, 2] = wanted[9, 9] = True
    read: list[tuple[int, int]] = []

    def window(top: int, left: int, height: int, width: int) -> Tensor:
        read.append((top, left))
        return window_of(image)(top, left, height, width)

    def gradients_of_wanted(cells: Tensor) -> list[Tensor]:
        return gradients(features, cells * torch.from_numpy(wanted))

    streamed = stream(features, window, wanted, 32)
    assert len(read) == 2
    assert_equal(
        gradients_of_wanted(streamed), gradients_of_wanted(whole_map(features, image, receptive_field(features)))
    )
    assert len(read) == 4
    assert streamed[:, 0:4, 8:12].abs().max() == 0


def test_without_gradients_nothing_is_kept() -> None:
    features, image = stack("strided"), image_of(64, 64)
    with torch.no_grad():
        cells = stream(features, window_of(image), np.ones((8, 8), bool), 32)
    assert not cells.requires_grad


class SavedTensors:
    """Most bytes of tensors that autograd keeps at one time, while it is entered."""

    def __enter__(self) -> "SavedTensors":
        self.now = self.peak = 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda box: box.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> "Box":
        box = Box(tensor)
        self._count(tensor.nbytes)
        weakref.finalize(box, self._count, -tensor.nbytes)
        return box

    def _count(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)


class Box:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(map_of: Callable[[nn.Sequential, Tensor], Tensor], side: int) -> tuple[int, int]:
    """Most bytes that are kept for the gradients of an image of side x side, and bytes of its map."""
    features = stack("strided")
    with SavedTensors() as saved:
        cells = map_of(features, image_of(side, side))
        gradients(features, cells)
    return saved.peak, cells.nbytes


def by_tiles(features: nn.Sequential, image: Tensor) -> Tensor:
    wanted = np.ones(cells_of(image, receptive_field(features)), bool)
    return stream(features, window_of(image), wanted, 64)


def at_once(features: nn.Sequential, image: Tensor) -> Tensor:
    return whole_map(features, image, receptive_field(features))


def test_memory_is_that_of_a_tile_and_the_map() -> None:
    """What the loss keeps of the map grows with the image; all else is that of one tile of 64 px."""
    (one_tile, small_map), (several, large_map) = saved_bytes(by_tiles, 64), saved_bytes(by_tiles, 512)
    assert several - one_tile <= 4 * (large_map - small_map)
    (whole_small, _), (whole_large, _) = saved_bytes(at_once, 64), saved_bytes(at_once, 512)
    assert whole_small <= 1.2 * one_tile
    assert whole_large > 40 * whole_small
    assert several < whole_large / 15


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (nn.Conv2d(3, 3, 3, padding=1), "without padding"),
        (nn.Conv2d(3, 3, (3, 5)), "wanted squares"),
        (nn.MaxPool2d(2, ceil_mode=True), "without ceil_mode"),
        (nn.BatchNorm2d(3), "wanted Conv2d"),
        (nn.Dropout2d(0.2), "wanted Conv2d"),
    ],
)
def test_layers_whose_result_depends_on_the_tile_are_refused(layer: nn.Module, fault: str) -> None:
    with pytest.raises(EncoderError, match=fault):
        receptive_field(nn.Sequential(nn.Conv2d(3, 3, 3), layer))
