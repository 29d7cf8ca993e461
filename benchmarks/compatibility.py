"""How far codes and answers move when codes are made otherwise: the figures of docs/compatibility.md.

    python -m benchmarks.compatibility [encoder.onnx|.h5] [--other encoder.h5] [--slides FOLDER] [--only tiling]

Slides of the phantom's breast cohort, of three labs, are compressed in each way. A small ensemble is trained on usual
codes (ONNX Runtime f32) for the logarithm of the lymphocytes per mm2, and answers for patients kept apart by codes of
each way. It is also trained on mixtures in the worst case: the patients with higher labels have codes of one way, all
others usual ones. Some twenty minutes on two busy cores.

Without arguments the encoders are published ones, and the slides real ones, of ../shared/data, where that is.

codes     root mean square and largest difference of a number of a code, in deviations of that number over all tiles
shift     of the mean code of all patients, largest over its numbers, in deviations of it between patients
answers   mean and largest difference of the answer of a patient kept apart, in deviations between patients
mixture   mean difference of the answers of the ensemble trained on the mixture from those of the usual one, on usual
          codes; `tells`: how much higher that ensemble answers for the same patients by codes of this way; rho: its
          Spearman correlation with the label
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import Everything, Saturated
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.keras_file import GRAPH_PX, import_published
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder
from nic.encoder.spec import EncoderSpec
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import Ensemble, ensemble_scores, fit_folds
from nic.patients.targets import Values
from nic.phantom.phantom_study import draw_breast
from nic.phantom.synthetic_patients import breast_patients
from nic.slides.slide import SlideSource

USUAL = Tiling()
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CELLS, FOLDS, EPOCHS = 16, 4, 40
Tiles, Codes, Floats = NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]
Slides = Sequence[CompressedSlide]


@dataclass(frozen=True)
class Run:
    """An encoder whose codes `run` computes in one way or another."""

    spec: EncoderSpec
    run: Callable[[Tiles], Codes]

    def encode(self, tiles: Tiles) -> Codes:
        return self.run(tiles)


@dataclass(frozen=True)
class Way:
    """A way in which codes are made. group: the line of docs/compatibility.md."""

    group: str
    name: str
    encoder: Run
    tiling: Tiling = USUAL
    batch_tiles: int = 64


@dataclass(frozen=True)
class Cohort:
    """Slides and labels of patients, one slide each. train: [N] bool; the others are kept apart."""

    sources: Sequence[SlideSource]
    label: Floats
    train: NDArray[np.bool_]

    @classmethod
    def drawn(cls, folder: Path, patients: int) -> "Cohort":
        """The phantom's first slide of each patient of the training labs; every third patient is kept apart."""
        slides = [slide for slide in breast_patients(0, patients, 3)[1] if slide.slide_id.endswith("-1")][:patients]
        sources = [SlideSource(slide.slide_id, folder / f"{slide.slide_id}.tif") for slide in slides]
        for slide, source in zip(slides, tqdm(sources, desc="slides", unit="slide"), strict=True):
            draw_breast(replace(slide, cells=CELLS), source.path, seed=0)
        label = np.log([slide.lymphocytes_per_mm2 for slide in slides])
        return cls(sources, label, np.arange(len(slides)) % 3 != 2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("encoder", type=Path, nargs="?", help="an .onnx file of nic, or a published .h5")
    arguments.add_argument("--other", type=Path, help="another encoder of the same size of code")
    arguments.add_argument("--slides", type=Path, help="folder of real slides, of which codes alone are compared")
    arguments.add_argument("--patients", type=int, default=60, help="of the phantom; 0 for real slides alone")
    arguments.add_argument("--only", nargs="*", default=[], help="groups or names of ways; all where none is given")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        graph = graph_of(given.encoder or SHARED / "published_encoders" / "multitask-4.h5", folder, seed=0)
        other = graph_of(given.other or SHARED / "published_encoders" / "bigan.h5", folder, seed=1)
        real = sorted((given.slides or SHARED / "wsi").glob("*.[st][vi]*"))
        usual, *ways = ways_of(graph, other)
        ways = [usual, *(way for way in ways if not given.only or {way.group, way.name} & set(given.only))]
        print(f"{graph.name}; {torch.get_num_threads()} threads; {load_encoder(graph).device_note}")
        if given.patients:
            on_phantom(ways, Cohort.drawn(folder, given.patients))
        on_real(ways, [SlideSource(path.stem, path) for path in real])


def graph_of(encoder: Path, folder: Path, seed: int) -> Path:
    """A graph of nic; of an untrained encoder where the file is not there."""
    path = folder / f"{encoder.stem}.onnx"
    if encoder.suffix == ".onnx":
        return encoder
    if encoder.is_file():
        import_published(encoder, encoder.stem, path, np.zeros((4, GRAPH_PX, GRAPH_PX, 3), np.uint8))
    else:
        torch.manual_seed(seed)
        export_encoder(TileEncoder(), "untrained", [], path, np.zeros((4, 64, 64, 3), np.uint8))
    return path


def ways_of(graph: Path, other: Path) -> Sequence[Way]:
    """The usual way first."""
    exact, half, stranger = load_encoder(graph), load_encoder(graph, "onnx-f16"), load_encoder(other)
    usual = Run(exact.spec, exact.encode)
    ways = [
        Way("", "usual", usual),
        Way("batch, device", "batches of 7 tiles", usual, batch_tiles=7),
        Way("batch, device", "OpenVINO f32", Run(exact.spec, by_openvino(graph, "f32"))),
        Way("pixel version", "an eighth of all values 1 lower", Run(exact.spec, lambda t: exact.encode(lower(t)))),
        Way("pixel version", "all values up to 1 off", Run(exact.spec, lambda t: exact.encode(jittered(t)))),
        Way("runtime", f"onnx-f16 ({exact.device.kind})", Run(exact.spec, half.encode)),
        Way("runtime", "openvino bf16", Run(exact.spec, by_openvino(graph, "bf16"))),
        Way("tiling", "min_tissue=0.3", usual, Tiling(min_tissue=0.3)),
        Way("tiling", "exclude=nothing", usual, Tiling(exclude=())),
        Way("tiling", "tissue=20", usual, Tiling(tissue=Saturated(20.0))),
        Way("tiling", "tissue=all", usual, Tiling(tissue=Everything(), exclude=())),
        Way("tiling", "overlap_px=half", usual, Tiling(overlap_px=exact.spec.tile_px // 2)),
    ]
    if stranger.spec.code_size == exact.spec.code_size:
        ways.append(Way("encoder", other.stem, Run(stranger.spec, stranger.encode)))
    if exact.device.kind == "cuda":
        ways.insert(1, Way("batch, device", "ONNX Runtime f32, cpu", Run(exact.spec, on_cpu(graph))))
    return ways


def on_cpu(graph: Path) -> Callable[[Tiles], Codes]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda tiles: np.asarray(session.run(None, {"tiles": tiles})[0])


def by_openvino(graph: Path, precision: str) -> Callable[[Tiles], Codes]:
    """Also in bf16 where the processor has none: OpenVINO then computes the same numbers, slowly."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda tiles: np.array(compiled.create_infer_request().infer({0: tiles})[0], np.float32)


def lower(tiles: Tiles) -> Tiles:
    """What version 1 of the pixel arithmetic did to a tile of 2 x 2 px means beside a gap: 12.4% of values, 1 lower."""
    drawn = np.random.default_rng(int(tiles[0, :4].sum())).random(tiles.shape, np.float32) < 0.125
    return tiles - (drawn & (tiles > 0))


def jittered(tiles: Tiles) -> Tiles:
    """The most that a version of the pixel arithmetic may do: every value the same, 1 lower, or 1 higher."""
    drawn = np.random.default_rng(int(tiles[0, :4].sum())).integers(-1, 2, tiles.shape, np.int16)
    return np.clip(tiles + drawn, 0, 255).astype(np.uint8)


def compressed(way: Way, sources: Sequence[SlideSource]) -> Slides:
    bar = tqdm(sources, desc=way.name, unit="slide", leave=False)
    return [compress_slide(s, way.encoder, way.tiling, batch_tiles=way.batch_tiles) for s in bar]


def on_phantom(ways: Sequence[Way], cohort: Cohort) -> None:
    usual = compressed(ways[0], cohort.sources)
    trained = fitted(usual, cohort, seed=0)
    answers = answered(trained, usual, cohort)
    spread, apart = answers.std(), cohort.label[~cohort.train]
    each = [answered(one, usual, cohort) for one in alone(trained)]
    other_seed = answered(fitted(usual, cohort, seed=100), usual, cohort)
    print(f"{cohort.train.sum()} patients of training, {len(apart)} kept apart, deviation of answers {spread:.3f}")
    print(f"usual: rho {rho(answers, apart):.3f}; deviation over its networks {np.std(each, 0).mean() / spread:.3f}")
    print(f"another seed: answers {moved(other_seed, answers, spread)}; rho {rho(other_seed, apart):.3f}")
    print(f"{'way':46} tiles   codes rms  largest   shift   answers mean  largest | mixture  tells    rho")
    for way in ways[1:]:
        codes = compressed(way, cohort.sources)
        mixed = fitted(mixture(usual, codes, cohort), cohort, seed=0)
        of_mixed, of_way = answered(mixed, usual, cohort), answered(mixed, codes, cohort)
        tells = (of_way - of_mixed).mean() / spread
        print(
            f"{way.group + ': ' + way.name:46} {tiles(codes) / tiles(usual):5.2f} {differences(usual, codes)} "
            f"{shift(usual, codes):7.4f} {moved(answered(trained, codes, cohort), answers, spread)} | "
            f"{np.abs(of_mixed - answers).mean() / spread:7.3f} {tells:+6.3f} {rho(of_mixed, apart):6.3f}",
            flush=True,
        )


def on_real(ways: Sequence[Way], sources: Sequence[SlideSource]) -> None:
    """Codes alone."""
    if not sources:
        return
    print(f"real slides: {', '.join(source.slide_id for source in sources)}")
    usual = compressed(ways[0], sources)
    print(f"{'way':46} codes rms  largest   ({tiles(usual)} tiles)")
    for way in ways[1:]:
        if way.tiling == ways[0].tiling:
            print(f"{way.group + ': ' + way.name:46} {differences(usual, compressed(way, sources))}", flush=True)


def fitted(slides: Slides, cohort: Cohort, seed: int) -> Ensemble:
    of_training = [cells for cells, train in zip(cells_of(slides), cohort.train, strict=True) if train]
    return fit_folds(of_training, Values(cohort.label[cohort.train]), Recipe(epochs=EPOCHS), folds=FOLDS, seed=seed)


def answered(ensemble: Ensemble, slides: Slides, cohort: Cohort) -> Floats:
    """Of the patients kept apart."""
    return ensemble_scores(ensemble, [c for c, train in zip(cells_of(slides), cohort.train, strict=True) if not train])


def alone(ensemble: Ensemble) -> Sequence[Ensemble]:
    """Each network as an ensemble."""
    return [replace(ensemble, networks=(network,)) for network in ensemble.networks]


def mixture(usual: Slides, other: Slides, cohort: Cohort) -> Slides:
    """The patients with labels above the median have codes of the other way."""
    high = cohort.label > np.median(cohort.label)
    return [b if is_high else a for a, b, is_high in zip(usual, other, high, strict=True)]


def cells_of(slides: Slides) -> Sequence[PatientCells]:
    return [PatientCells(slide.slide_id, (SlideCells.of(slide),)) for slide in slides]


def tiles(slides: Slides) -> int:
    return sum(len(slide.codes) for slide in slides)


def differences(usual: Slides, other: Slides) -> str:
    """Root mean square and largest, of cells that have a code in both; nothing where cells are others."""
    if [slide.grid for slide in usual] != [slide.grid for slide in other]:
        return f"{'-':>9} {'-':>8}"
    pairs = [(a.dense()[:, both].T, b.dense()[:, both].T) for a, b in zip(usual, other, strict=True)
             if (both := a.valid & b.valid).any()]  # fmt: skip
    first, second = (np.concatenate(codes) for codes in zip(*pairs, strict=True))
    deviation = first.std(0)
    standard = (second - first)[:, deviation > 0] / deviation[deviation > 0]
    return f"{np.sqrt(np.mean(standard**2)):9.4f} {np.abs(standard).max():8.3f}"


def shift(usual: Slides, other: Slides) -> float:
    """Of the mean code over patients, largest over its numbers, in deviations between patients."""
    first, second = (np.stack([s.codes.astype(np.float64).mean(0) for s in slides]) for slides in (usual, other))
    between = first.std(0)
    return float((np.abs((second - first).mean(0))[between > 0] / between[between > 0]).max())


def moved(answers: Floats, usual: Floats, spread: float) -> str:
    by = np.abs(answers - usual) / spread
    return f"{by.mean():12.4f} {by.max():8.3f}"


def rho(answers: Floats, label: Floats) -> float:
    return float(spearmanr(answers, label).statistic)


if __name__ == "__main__":
    main()
