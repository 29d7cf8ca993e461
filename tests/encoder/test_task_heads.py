"""The task heads of a trained encoder: exported beside it, and equal to those of the training."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nic.encoder.certificate import encoded
from nic.encoder.encoder_graph import export_encoder, export_heads
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.multitask import multitask, uniform_weights
from nic.encoder.network import CODE_SIZE, task_heads
from nic.encoder.task_heads import TaskHeads
from nic.encoder.train import VALIDATION, Schedule, TrainedEncoder, train
from nic.encoder.vae import Vae
from nic.errors import EncoderError, ParityFailed
from nic.graphs.files import HEADS_FILE, graph_in
from nic.stages.registration import EncoderCandidate
from nic.tasks.tile_task import TileSet, TileTask, split

SCHEDULE = Schedule(epochs=1, batch_size=32, learning_rate=1e-3, augmentation="none", seed=0)


def tile_set(name: str, classes: tuple[str, ...]) -> TileSet:
    """Tiles whose brightness tells their class now and then."""
    rng = np.random.default_rng(len(classes))
    labels = np.arange(40 * len(classes)) % len(classes)
    brightness = 100 + 25 * labels + rng.normal(0, 25, len(labels))
    tiles = brightness[:, None, None, None] + rng.normal(0, 20, (len(labels), 64, 64, 3))
    groups = np.array([f"s{number // len(classes) % 10}" for number in range(len(labels))])
    task = TileTask(name, classes, 1.0, Path())  # type: ignore[arg-type]
    return TileSet(task, tiles.clip(0, 255).astype(np.uint8), labels, groups)


SETS = [tile_set("mitosis", ("other", "mitosis")), tile_set("tissue", ("fat", "stroma", "tumour"))]
TASKS = {tiles.task.name: tiles.task.classes for tiles in SETS}


@pytest.fixture(scope="module")
def trained() -> TrainedEncoder:
    return train(SETS, multitask(SETS, uniform_weights(list(TASKS))), SCHEDULE)


@pytest.fixture(scope="module")
def encoder(trained: TrainedEncoder, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedEncoder, TaskHeads]:
    """Exported as registration does it."""
    folder = tmp_path_factory.mktemp("encoder")
    sample = np.concatenate([tiles.tiles[:8] for tiles in SETS])
    export_encoder(trained.encoder, "multitask", list(TASKS), folder / "encoder.onnx", sample)
    encoder = load_encoder(folder / "encoder.onnx")
    heads = EncoderCandidate.of(trained, "").heads
    assert heads is not None
    difference = export_heads(heads, TASKS, encoder.spec.sha256, folder / HEADS_FILE, encoded(encoder, sample))
    assert difference <= 1e-5
    return encoder, TaskHeads.load(folder / HEADS_FILE)


def test_the_heads_repeat_the_figures_of_the_training(
    trained: TrainedEncoder, encoder: tuple[LoadedEncoder, TaskHeads]
) -> None:
    graph, heads = encoder
    for tiles, scores in zip(SETS, trained.scores, strict=True):
        name, (_, held_out) = tiles.task.name, split(tiles, VALIDATION, SCHEDULE.seed)
        probabilities = heads.probabilities(name, encoded(graph, tiles.tiles[held_out]))
        assert np.abs(probabilities - scores.scores).max() <= 1e-5
        score = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
        auc = roc_auc_score(tiles.labels[held_out], score, multi_class="ovr")
        assert auc == pytest.approx(trained.validation[name], abs=1e-6)
        assert 0.6 < auc < 1


def test_the_heads_know_their_tasks_and_their_encoder(encoder: tuple[LoadedEncoder, TaskHeads]) -> None:
    graph, heads = encoder
    assert heads.tasks == TASKS
    assert heads.encoder_sha256 == graph.spec.sha256


def test_the_graph_computes_what_torch_does_whatever_the_tasks_are_called(tmp_path: Path) -> None:
    """A task may have the name of a part of the graph."""
    classes = {"codes": 2, "linear": 3, "softmax": 2, "heads": 2, "location": 2, "val_0": 2, "batch": 2, "b b": 4}
    tasks = {task: tuple("pqrs"[:count]) for task, count in classes.items()}
    torch.manual_seed(0)
    heads, codes = task_heads(classes.values()), np.random.default_rng(0).normal(0, 3, (50, CODE_SIZE))
    export_heads(heads, tasks, "0" * 64, tmp_path / HEADS_FILE, codes[:4].astype(np.float32))
    loaded = TaskHeads.load(tmp_path / HEADS_FILE)
    graph = onnx.load(tmp_path / HEADS_FILE).graph
    assert [output.name for output in graph.output] == [f"{task}.probabilities" for task in tasks]
    for (task, head), dtype in product(zip(tasks, heads, strict=True), (np.float32, np.float16)):
        stored = codes.astype(dtype)
        with torch.no_grad():
            expected = head(torch.from_numpy(stored).float()).softmax(1).numpy()
        for count in (1, 50):
            probabilities = loaded.probabilities(task, stored[:count])
            assert probabilities.dtype == np.float32
            assert np.abs(probabilities - expected[:count]).max() <= 1e-5


def test_heads_that_differ_from_torch_are_not_kept(tmp_path: Path) -> None:
    class Drifting(torch.nn.Linear):
        """Gives other numbers than its export."""

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            return super().forward(codes) + (0.0 if torch.compiler.is_exporting() else 1.0) * torch.arange(2)

    heads = torch.nn.ModuleList([Drifting(CODE_SIZE, 2)])
    with pytest.raises(ParityFailed, match=r"heads\.onnx: graph and torch differ"):
        export_heads(heads, {"a": ("x", "y")}, "", tmp_path / HEADS_FILE, np.zeros((3, CODE_SIZE), np.float32))
    assert not (tmp_path / HEADS_FILE).exists()


def test_only_an_objective_that_was_taught_tasks_has_heads(trained: TrainedEncoder) -> None:
    unsupervised = TrainedEncoder(Vae(1.0), trained.judgement, 0, 0)
    assert EncoderCandidate.of(unsupervised, "").heads is None


def test_the_heads_are_not_the_graph_of_their_folder(encoder: tuple[LoadedEncoder, TaskHeads], tmp_path: Path) -> None:
    (tmp_path / HEADS_FILE).touch()
    (tmp_path / "encoder.onnx").touch()
    assert graph_in(tmp_path) == tmp_path / "encoder.onnx"


def test_what_is_no_graph_of_heads_is_refused(encoder: tuple[LoadedEncoder, TaskHeads], tmp_path: Path) -> None:
    _, heads = encoder
    with pytest.raises(EncoderError, match="no head of task 'grade'; this encoder was taught mitosis, tissue"):
        heads.probabilities("grade", np.zeros((1, CODE_SIZE), np.float16))
    with pytest.raises(EncoderError, match=r"heads\.onnx: cannot run on codes \[1, 3\]"):
        heads.probabilities("mitosis", np.zeros((1, 3), np.float16))
    mute = onnx.load(heads._graph.path)
    del mute.metadata_props[:]
    onnx.save(mute, tmp_path / "mute.onnx")
    with pytest.raises(EncoderError, match=r"mute\.onnx: no readable nic\.heads metadata"):
        TaskHeads.load(tmp_path / "mute.onnx")
    with pytest.raises(EncoderError, match=r"gone\.onnx"):
        TaskHeads.load(tmp_path / "gone.onnx")


def test_running_the_heads_needs_no_torch(encoder: tuple[LoadedEncoder, TaskHeads]) -> None:
    _, heads = encoder
    code = (
        "import sys; from pathlib import Path; import numpy; from nic.encoder.task_heads import TaskHeads; "
        f"heads = TaskHeads.load(Path({str(heads._graph.path)!r})); "
        "heads.probabilities('mitosis', numpy.zeros((1, 128), numpy.float16)); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
