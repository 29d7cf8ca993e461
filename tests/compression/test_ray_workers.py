"""Processes of a cluster keep their encoder from slide to slide, see their own device, and survive a bad slide."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import conftest
import h5py
import numpy as np
import onnx
import pytest
import slide_jobs
from conftest import PixelEncoder, tissue_image, write_slide
from numpy.typing import NDArray
from served_files import write_graphs
from slide_jobs import Deadly

from nic.compression.compress_cohort import compress_cohort
from nic.compression.on_ray import compress_on_ray
from nic.compression.ray_workers import LOSSES, Cluster
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import Everything, OwnMask
from nic.encoder.loading import EncoderLoader, load_encoder
from nic.errors import EncoderError, NoDevice, UnreachedSlides
from nic.graphs.device import cuda_devices
from nic.slides.slide import SlideSource, find_slides

ray = pytest.importorskip("ray", reason="wants Ray: pip install ray==2.60.0")

# By value, or each process of the cluster would import this module, and PyTorch with it.
for module in (conftest, sys.modules[__name__]):
    ray.cloudpickle.register_pickle_by_value(module)
TESTS = Path(slide_jobs.__file__).parent
TASKS, ACTORS = Cluster(cpus=2), Cluster(cpus=1, gpus=1)
SLOW_TASKS, SLOW_ACTORS = (
    pytest.param(on, id=name, marks=pytest.mark.slow) for on, name in ((TASKS, "tasks"), (ACTORS, "actors"))
)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores, and a GPU that is declared: Ray hands it out, and nobody computes on it."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[SlideSource]:
    folder = tmp_path_factory.mktemp("slides")
    path = write_slide(folder / "s00.tif", tissue_image(700, 600))
    for number in range(1, 20):
        (folder / f"s{number:02}.tif").write_bytes(path.read_bytes())
    return find_slides(folder)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.onnx"
    path.write_text("not read by these encoders")
    return path


def reading_processes() -> int:
    """Of this process."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            count += parent == os.getpid() and b"nic.slides.reading_process" in (stat.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    return count


class Noting(PixelEncoder):
    """Leaves a file for each time that it is loaded, and one for each process that encodes with it."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        (notes / f"loaded.{os.getpid()}.{time.monotonic_ns()}").write_text(
            os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        )

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        (self.notes / f"encodes.{os.getpid()}").write_text(str(reading_processes()))
        return super().encode(tiles)


def noted(notes: Path, what: str) -> list[str]:
    return [path.read_text() for path in notes.glob(f"{what}.*")]


def features(folder: Path, slide: str) -> NDArray[np.float16]:
    with h5py.File(folder / f"{slide}.h5") as file:
        codes: NDArray[np.float16] = file["features"][()]
        return codes


def test_a_share_of_a_gpu_has_one_encoding_process_and_one_session(
    tmp_path: Path, graph: Path, slides: list[SlideSource]
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    report = compress_on_ray(slides, graph, lambda _: Noting(notes), tmp_path / "codes", CompressionOptions(), ACTORS)
    assert report.compressed == [slide.slide_id for slide in slides]
    assert noted(notes, "loaded") == ["0"]  # the number of its GPU
    assert noted(notes, "encodes") == ["1"]
    assert report.shared == "1 actor on a Ray cluster, each with 1 process that reads; encoded on a device (20 slides)"
    compress_cohort(slides[:1], PixelEncoder(), tmp_path / "here", readers=0)
    assert np.array_equal(features(tmp_path / "codes", "s07"), features(tmp_path / "here", "s00"))


def test_tasks_keep_their_encoder_and_see_no_gpu(tmp_path: Path, graph: Path, slides: list[SlideSource]) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    report = compress_on_ray(slides, graph, lambda _: Noting(notes), tmp_path / "codes", CompressionOptions(), TASKS)
    assert report.compressed == [slide.slide_id for slide in slides]
    processes = list(notes.glob("encodes.*"))
    assert noted(notes, "loaded") == [""] * len(processes)
    assert len(processes) < len(slides)
    assert noted(notes, "encodes") == ["2"] * len(processes)


@pytest.mark.parametrize("on", [SLOW_TASKS, pytest.param(ACTORS, id="actors")])
def test_an_encoder_whose_weights_lie_beside_it_travels(tmp_path: Path, slides: list[SlideSource], on: Cluster) -> None:
    write_graphs(tmp_path / "alone")
    alone, beside = onnx.load(tmp_path / "alone" / "encoder.onnx"), tmp_path / "beside.onnx"
    onnx.save(alone, beside, save_as_external_data=True, location="beside.data", size_threshold=1024)
    load = EncoderLoader()
    there = compress_on_ray(slides[:2], beside, load, tmp_path / "there", CompressionOptions(), on)
    here = compress_cohort(slides[:2], load_encoder(beside, device="cpu"), tmp_path / "here", readers=0)
    assert there.compressed == here.compressed == ["s00", "s01"]
    assert np.array_equal(features(tmp_path / "there", "s01"), features(tmp_path / "here", "s01"))
    if on.gpus:
        assert "encoded on c" in there.shared  # cpu, or cuda:0 where the declared GPU is one


@pytest.mark.parametrize("on", [pytest.param(TASKS, id="tasks"), SLOW_ACTORS])
def test_what_kills_or_holds_up_a_reader_costs_its_own_slide(tmp_path: Path, graph: Path, on: Cluster) -> None:
    path = write_slide(tmp_path / "good0.tif", tissue_image(600, 500))
    names = ["crash0", "hang0", "good0", "good1", "crash1", "good2"]
    for name in names:
        (tmp_path / f"{name}.tif").write_bytes(path.read_bytes())
    how = CompressionOptions(Tiling(tissue=OwnMask()), Deadly(), silent_s=5)
    slides = [SlideSource(name, tmp_path / f"{name}.tif") for name in names]
    report = compress_on_ray(slides, graph, lambda _: PixelEncoder(), tmp_path / "codes", how, on)
    assert report.compressed == ["good0", "good1", "good2"]
    assert [(refusal.slide, refusal.reason) for refusal in report.quarantined] == [
        ("crash0", "CrashingSlide"),
        ("crash1", "CrashingSlide"),
        ("hang0", "CrashingSlide"),
    ]
    assert "SIGABRT" in report.quarantined[0].evidence
    assert "was silent for 5 s" in report.quarantined[2].evidence


class Brittle(PixelEncoder):
    """Ends its process at green tissue, always or once, which a file then marks."""

    def __init__(self, mark: Path | None) -> None:
        self.mark = mark

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.1)
        if tiles[..., 0].mean() < tiles[..., 1].mean() and not (self.mark and self.mark.exists()):
            if self.mark:
                self.mark.touch()
            os._exit(1)
        return super().encode(tiles)


@pytest.mark.parametrize("once", [pytest.param(True, marks=pytest.mark.slow), False])
def test_an_actor_that_dies_is_made_anew_and_its_other_slide_is_not_at_fault(
    tmp_path: Path, graph: Path, slides: list[SlideSource], once: bool
) -> None:
    green = write_slide(tmp_path / "green.tif", np.ascontiguousarray(tissue_image(700, 600)[..., [1, 0, 2]]))
    mixed = [slides[0], SlideSource("green", green), *slides[1:5]]
    mark = tmp_path / "mark" if once else None
    how = CompressionOptions(Tiling(tissue=Everything()))
    report = compress_on_ray(mixed, graph, lambda _: Brittle(mark), tmp_path / "codes", how, ACTORS)
    others = [slide.slide_id for slide in slides[:5]]
    assert report.compressed == (["green", *others] if once else others)
    refused = [(refusal.slide, refusal.reason) for refusal in report.quarantined]
    assert refused == ([] if once else [("green", "CrashingSlide")])
    assert report.shared.startswith("2 actors" if once else "3 actors")


def refusing(_: Path) -> PixelEncoder:
    raise EncoderError("encoder.onnx: no such spec")


@pytest.mark.parametrize("on", [TASKS, ACTORS], ids=["tasks", "actors"])
def test_an_encoder_that_cannot_be_loaded_ends_the_run_with_its_words(
    tmp_path: Path, graph: Path, slides: list[SlideSource], on: Cluster
) -> None:
    load: Callable[[Path], PixelEncoder] = lambda path: refusing(path)  # noqa: E731 - pickled by value
    with pytest.raises(EncoderError, match="no such spec"):
        compress_on_ray(slides[:2], graph, load, tmp_path / "codes", CompressionOptions(), on)


@pytest.mark.slow
def test_actors_that_never_start_end_the_run(tmp_path: Path, graph: Path, slides: list[SlideSource]) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()

    def load(_: Path) -> PixelEncoder:
        (notes / str(time.monotonic_ns())).touch()
        os._exit(1)

    with pytest.raises(UnreachedSlides, match="no actor of the Ray cluster starts: ActorDiedError"):
        compress_on_ray(slides, graph, load, tmp_path / "codes", CompressionOptions(), ACTORS)
    assert len(list(notes.iterdir())) >= LOSSES


def test_a_device_that_a_node_lacks_is_an_error(tmp_path: Path, slides: list[SlideSource]) -> None:
    try:
        cuda_devices()
    except NoDevice:
        write_graphs(tmp_path)
        graph = tmp_path / "encoder.onnx"
        with pytest.raises(NoDevice, match="there is no NVIDIA driver here"):
            compress_on_ray(
                slides[:1], graph, EncoderLoader(device="cuda"), tmp_path / "codes", CompressionOptions(), ACTORS
            )
