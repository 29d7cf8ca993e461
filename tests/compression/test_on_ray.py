"""The same work on a cluster: the same files, each slide once, also when a node is lost or a slide crashes."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import conftest
import h5py
import numpy as np
import pytest
from conftest import PixelEncoder, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress_cohort import compress_cohort
from nic.compression.on_ray import compress_on_ray
from nic.compression.ray_workers import Cluster
from nic.compression.slide_of_cohort import CompressionOptions
from nic.slides.slide import SlideSource, find_slides

ray = pytest.importorskip("ray", reason="wants Ray: pip install ray==2.60.0")

ray.cloudpickle.register_pickle_by_value(conftest)  # the workers of a cluster do not find the tests


def slides_in(folder: Path, count: int) -> list[SlideSource]:
    folder.mkdir()
    for number in range(count):
        write_slide(folder / f"s{number:02}.tif", tissue_image(700, 600, seed=number))
    return find_slides(folder)


def arrays(folder: Path) -> dict[str, dict[str, NDArray[np.generic]]]:
    """All that the files of a folder hold, by slide."""
    found = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            found[path.stem] = {name: file[name][()] for name in file} | dict(file.attrs)
    return found


def same(one: Path, other: Path) -> bool:
    ours, theirs = arrays(one), arrays(other)
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[slide][name], theirs[slide][name]) for slide in ours for name in ours[slide]
    )


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.onnx"
    path.write_text("not read by these encoders")
    return path


@pytest.fixture
def two_nodes() -> Iterator[Sequence[object]]:
    """A cluster of this machine: a head and a node that may be killed, a core each."""
    from ray.cluster_utils import Cluster as LocalCluster

    cluster = LocalCluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, lost
    ray.shutdown()
    cluster.shutdown()


def test_a_cluster_makes_the_same_files_and_the_same_quarantine(
    tmp_path: Path, graph: Path, pixel_encoder: PixelEncoder
) -> None:
    slides_in(tmp_path / "slides", 3)
    write_slide(tmp_path / "slides" / "mute.tif", tissue_image(700, 600), mpp=None)
    slides = find_slides(tmp_path / "slides")
    here = compress_cohort(slides, pixel_encoder, tmp_path / "here")
    there = compress_on_ray(
        slides, graph, lambda _: PixelEncoder(), tmp_path / "there", CompressionOptions(), Cluster("", cpus=1)
    )
    assert (
        (there.compressed, there.quarantined)
        == (here.compressed, here.quarantined)
        == (["s00", "s01", "s02"], there.quarantined)
    )
    assert [refusal.slide for refusal in there.quarantined] == ["mute"]
    assert same(tmp_path / "here", tmp_path / "there")
    assert (tmp_path / "there" / "quarantine.csv").read_text() == (tmp_path / "here" / "quarantine.csv").read_text()
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_node_is_lost_in_the_middle(
    tmp_path: Path, graph: Path, pixel_encoder: PixelEncoder, two_nodes: tuple[object, object]
) -> None:
    cluster, lost = two_nodes
    slides, out, begun = slides_in(tmp_path / "slides", 40), tmp_path / "codes", tmp_path / "begun"
    begun.mkdir()

    class Noting(PixelEncoder):
        """Leaves a file for each slide that it begins, and takes its time."""

        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            (begun / f"{time.monotonic_ns()}.{ray.get_runtime_context().get_node_id()}").touch()
            time.sleep(0.2)
            return super().encode(tiles)

    def kill() -> None:
        while len({path.suffix for path in begun.iterdir()}) < 2 or len(list(out.glob("*.h5"))) < 10:
            time.sleep(0.01)
        cluster.remove_node(lost, allow_graceful=False)  # type: ignore[attr-defined]

    killer = threading.Thread(target=kill)
    killer.start()
    report = compress_on_ray(slides, graph, lambda _: Noting(), out, CompressionOptions(), Cluster())
    killer.join()
    names = [slide.slide_id for slide in slides]
    assert sorted([*report.compressed, *report.reused]) == names
    assert not report.quarantined
    assert len({path.suffix for path in begun.iterdir()}) == 2
    compress_cohort(slides, pixel_encoder, tmp_path / "undisturbed")
    assert same(out, tmp_path / "undisturbed")
    assert not list((out / ".claims").iterdir())


@pytest.mark.slow
def test_a_slide_that_kills_each_process_goes_into_quarantine(
    tmp_path: Path, graph: Path, two_nodes: tuple[object, object]
) -> None:
    slides, out = slides_in(tmp_path / "slides", 3), tmp_path / "codes"
    pixels = PixelEncoder()
    compress_cohort(slides[1:2], pixels, tmp_path / "one")
    with h5py.File(tmp_path / "one" / "s01.h5") as file:
        fatal = file["features"][0].astype(np.float32)

    class Crashing(PixelEncoder):
        def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            codes = super().encode(tiles)
            if np.isclose(codes, fatal, atol=1e-3).all(1).any():
                os._exit(1)
            return codes

    report = compress_on_ray(slides, graph, lambda _: Crashing(), out, CompressionOptions(), Cluster())
    assert report.compressed == ["s00", "s02"]
    assert [(refusal.slide, refusal.reason) for refusal in report.quarantined] == [("s01", "CrashingSlide")]
