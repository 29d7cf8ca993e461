"""An ablation as a stage: encoders side by side, patient networks on their codes, and the page with the claims."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Plot

from nic.ablation.ablation_cells import Cell, CellAnswers, CellBatch, CellTraining, cell_file, train_cells
from nic.ablation.arms import Arm, EncoderOfArm, arms_of, chosen
from nic.ablation.claims import best, claims_of
from nic.ablation.measured import Measurable, Measurements
from nic.ablation.page import AblationPage
from nic.ablation.scope import Scope
from nic.ablation.workload import Workload
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.side_by_side import compress_side_by_side
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.loading import load_encoder
from nic.evaluation.oracle import oracle_scores
from nic.evaluation.path_picture import path_picture
from nic.patients.cohort import Cohort, Split
from nic.patients.targets import names_of
from nic.serving.answer_maps import size_l0px
from nic.shared_files import drafted
from nic.stages.ablation_hours import compression_part, networks_part, pace_of, show, training_part, workload_of
from nic.stages.draw_maps import thumbnail_and_origin
from nic.stages.steps import part_to_measure
from nic.study import EndpointEntry, Study
from nic.threads import cores
from nic.tracking.digests import codes_digest
from nic.tracking.registry import encoder_file
from nic.tracking.runs import StageRun
from nic.training_device import training_device

MIL = "attention-mil"
"""The rival of the network by which encoders are compared, in the claim on relations among tiles."""
Trained = tuple[str, int]
"""The name of an arm, and the seed of its encoder."""


@dataclass
class Ablation:
    """An ablation while it runs. cohorts: of the study, read. training: of each network, by the number of folds.
    options: of each cohort's compression. work: its folder.

    encoders, files: of what was asked for so far; files hold the answers of each cell.
    """

    study_file: Path
    study: Study
    cohorts: Mapping[str, Cohort]
    arms: Sequence[Arm]
    scope: Scope
    training: Callable[[int], CellTraining]
    options: Mapping[str, CompressionOptions]
    work: Path
    workload: Workload = field(default_factory=Workload)
    encoders: dict[Trained, EncoderOfArm] = field(default_factory=dict)
    files: dict[Cell, Path] = field(default_factory=dict)

    def show_hours(self, encoder_epochs: int, comparators: Mapping[str, str]) -> None:
        """Print the plan with its hours, from a short measurement of this machine.

        encoder_epochs: at most. comparators: the cohort of each. Raises what reading the tile tasks raises.
        """
        pace, epochs = pace_of(self.cohorts), self.training(0).epochs
        self.workload = workload_of(
            self.study, pace, self.arms, self.scope, encoder_epochs, epochs, comparators, self.work
        )
        show(self.workload)

    def measure(self, encoders: Mapping[Trained, EncoderOfArm]) -> None:
        """Compress every cohort with these encoders in one reading, and train the networks on their codes."""
        if not encoders:
            return
        self.encoders.update(encoders)
        for trained, encoder in encoders.items():
            self.workload.finish(training_part(*trained), encoder.seconds, new=0.0 if encoder.reused else 1.0)
        for name in self.cohorts:
            self._compress(name, encoders)
        print(self.workload)
        self._train(encoders)

    def codes(self, cohort: str, encoder: EncoderOfArm) -> Path:
        return self.work / "codes" / cohort / encoder.sha256[:8]

    def _compress(self, cohort: str, encoders: Mapping[Trained, EncoderOfArm]) -> None:
        slides = [slide for patient in self.cohorts[cohort].patients for slide in patient.slides]
        graphs = {self.codes(cohort, encoder): encoder_file(encoder.version) for encoder in encoders.values()}
        lacking = sum(not (folder / f"{slide.slide_id}.h5").is_file() for folder in graphs for slide in slides)
        start = time.monotonic()
        loaded = {folder: load_encoder(graph) for folder, graph in graphs.items()}
        compress_side_by_side(slides, loaded, self.options[cohort])
        seconds = time.monotonic() - start
        share = len(encoders) / len(self.scope.trainings(self.arms))  # two may be equal, and then share their codes
        self.workload.finish(compression_part(cohort), seconds, share, new=lacking / (len(graphs) * len(slides)))
        for folder in graphs:
            if not (note := _seconds_file(folder)).is_file():
                with drafted(note) as draft:
                    draft.write_text(json.dumps(seconds / len(graphs)))

    def lacking_networks(self, encoders: Mapping[Trained, EncoderOfArm]) -> list[CellBatch]:
        """Networks on the codes of these encoders whose answers are not kept. Equal encoders share their networks."""
        batches: list[CellBatch] = []
        planned: set[Path] = set()
        for (name, seed), encoder in encoders.items():
            for entry in self.study.endpoints:
                codes = self.codes(entry.cohort, encoder)
                files = self._files(entry, codes, self.scope.cells(name, seed, [entry.name]))
                lacking = tuple((c, file) for c, file in files.items() if not file.is_file() and file not in planned)
                self.files.update(files)
                planned.update(file for _, file in lacking)
                if lacking:
                    batches.append(CellBatch(self.study_file, entry.name, codes, self._how(entry), lacking))
        return batches

    def _train(self, encoders: Mapping[Trained, EncoderOfArm]) -> None:
        batches = self.lacking_networks(encoders)
        train_cells(batches, 1 if training_device().type == "cuda" else cores())
        trained_now = {cell for batch in batches for cell, _ in batch.files}
        for trained in encoders:
            cells = [cell for cell in self.files if (cell.encoder, cell.encoder_seed) == trained]
            new = trained_now.intersection(cells)
            seconds = sum(CellAnswers.load(self.files[cell]).seconds for cell in new)
            self.workload.finish(networks_part(*trained), seconds / cores(), new=len(new) / len(cells))
        print(self.workload)

    def _how(self, entry: EndpointEntry) -> CellTraining:
        external = part_to_measure(self.cohorts[entry.cohort]) == "external"
        return self.training(0 if external else self.study.folds)

    def _files(self, entry: EndpointEntry, codes: Path, cells: Sequence[Cell]) -> dict[Cell, Path]:
        labels, digest = entry.cohort_digest(self.cohorts[entry.cohort]), codes_digest(codes)
        how = self._how(entry)
        return {cell: cell_file(self.work / "cells", cell, entry, labels, digest, how) for cell in cells}

    def arms_again(self) -> list[Arm]:
        """Arms whose encoder is trained with further seeds: those of the scope, and the best one of a single task."""
        measured, single = self.measured(), [arm for arm in self.arms if arm.group == "one task"]
        strongest = best(measured, single, self.scope.network)
        if strongest and single[0].name not in self.scope.seeded:  # the plan took the first for the best
            for seed, part in product(range(1, self.scope.encoder_seeds), (training_part, networks_part)):
                self.workload.replace(part(single[0].name, seed), part(strongest.name, seed))
        return [arm for arm in self.arms if (arm.name in self.scope.seeded and arm.learns) or arm == strongest]

    def measured(self) -> Measurements:
        answers = {cell: CellAnswers.load(file) for cell, file in self.files.items()}
        return Measurements([self._measurable(entry) for entry in self.study.endpoints], answers)

    def _measurable(self, entry: EndpointEntry) -> Measurable:
        split: Split = "train" if self._how(entry).folds else "external"
        labelled = self.cohorts[entry.cohort].labelled(entry.endpoint, split)
        patients = tuple(patient.patient_id for patient in labelled.patients)
        classes = names_of(labelled.targets) if entry.kind == "multiclass" else ()
        oracle = oracle_scores(self.study.truth, entry.name, patients, classes) if self.study.truth else None
        return Measurable(entry.name, entry.kind, entry.cohort, patients, labelled.targets, oracle)

    def report(self, page: Path, notes: Sequence[str], stage: StageRun) -> dict[str, Any]:
        """Write and log the page, its pictures and the figures; the stage's result."""
        measured, network = self.measured(), self.scope.network
        claims = claims_of(measured, self.arms, network, MIL)
        pairs = dict.fromkeys((cell.encoder, cell.network) for cell in self.files)
        with_rivals = {encoder for encoder, of in pairs if of != network}
        others = [pair for pair in pairs if pair[0] in with_rivals]
        written = AblationPage(
            study=self.study.name,
            measured=measured,
            arms=self.arms,
            network=network,
            networks=others,
            claims=claims,
            minutes=self._minutes(),
            notes=notes,
            glimpses=self._glimpses(),
        ).write(page)
        stage.log_text(page.read_text(), page.name)
        for picture in written[1:]:
            stage.log_png(picture.read_bytes(), picture.name)
        for arm in self.arms:
            name = arm.name.replace("+", "-")  # MLflow allows no + in names
            stage.log(f"mean_fraction.{name}", float(measured.mean_fraction(arm.name, network)[0]))
        for claim in claims:
            print(f"{claim.verdict:13} {claim.claim}  {claim.measure}: {claim.difference}")
        print(f"The page: {page}")
        return {"page": str(page), "verdicts": {claim.claim: claim.verdict for claim in claims}}

    def _glimpses(self) -> Plot | None:
        """Where the first of the networks of glimpses looked, on the slide; None where there is no such network."""
        paths = ((cell, CellAnswers.load(file).path) for cell, file in sorted(self.files.items()))
        cell, path = next(((cell, path) for cell, path in paths if path), (None, None))
        if cell is None or path is None:
            return None
        cohort = self.study.endpoint(cell.endpoint).cohort
        sources = {slide.slide_id: slide for patient in self.cohorts[cohort].patients for slide in patient.slides}
        codes = self.codes(cohort, self.encoders[cell.encoder, cell.encoder_seed])
        slide = CompressedSlide.load_cells(codes / f"{path.slide_id}.h5")
        thumbnail, _ = thumbnail_and_origin(sources[path.slide_id], slide)
        title = f"Glimpses at {path.slide_id} for {cell.endpoint}, in their order\n(codes of {cell.encoder})"
        return path_picture(np.array(path.places), slide.grid, thumbnail, size_l0px(slide), title)

    def _minutes(self) -> dict[str, tuple[float, float]]:
        """Of the training of each arm's first encoder, and of its share of the compression."""
        return {
            name: (encoder.seconds / 60, sum(self._compression_s(encoder)) / 60)
            for (name, seed), encoder in self.encoders.items()
            if seed == 0
        }

    def _compression_s(self, encoder: EncoderOfArm) -> list[float]:
        notes = [_seconds_file(self.codes(cohort, encoder)) for cohort in self.cohorts]
        return [float(json.loads(note.read_text())) for note in notes]


def _seconds_file(codes: Path) -> Path:
    """Beside the folder of codes: the seconds of its compression."""
    return codes.with_suffix(".seconds")


@dataclass(frozen=True)
class AblationPlan:
    """What a user asks for. encoders: names of arms; all where there are none. published: folder of published encoders.

    training: of the networks, by the number of folds.
    """

    scope: Scope
    encoders: Sequence[str]
    published: Path | None
    training: Callable[[int], CellTraining]


def begin(
    study_file: Path, study: Study, plan: AblationPlan, options: Mapping[str, CompressionOptions], work: Path
) -> Ablation:
    """Choose the arms and read the cohorts. options: of each cohort's compression.

    Raises StudyError for an unknown arm, and what reading the cohorts raises.
    """
    every = arms_of([task.name for task in study.tile_tasks], plan.published)
    chosen(every, plan.scope.seeded)  # refuses an unknown name
    arms = chosen(every, plan.encoders)
    cohorts = {name: entry.read() for name, entry in study.cohorts.items()}
    return Ablation(study_file, study, cohorts, arms, plan.scope, plan.training, options, work)
