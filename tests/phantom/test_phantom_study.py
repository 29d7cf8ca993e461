"""A small phantom from end to end: its files, and that a second one is the same."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import numpy as np
import openslide
import pandas as pd
import pytest
from PIL import Image

from nic.errors import StudyError
from nic.phantom.breast import BreastSlide
from nic.phantom.labs import LABS, TRAIN_LABS, colour_table
from nic.phantom.liver import LiverSlide
from nic.phantom.phantom_study import PhantomConfig, PhantomStudy, draw_breast, draw_liver, make_phantom
from nic.phantom.pyramid import write_pyramid

CONFIG = PhantomConfig(seed=5, breast_train=1, breast_external=1, liver_train=1, liver_external=1, tiles_per_task=36)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "study", CONFIG, workers=1)


def file_hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_every_slide_of_the_tables_opens_with_its_labs_resolution(study: PhantomStudy) -> None:
    for cohort in ("breast", "liver"):
        for row in pd.read_csv(study.out / f"{cohort}.csv").itertuples():
            with openslide.OpenSlide(study.out / row.slide) as slide:
                assert slide.level_count >= 3
                lab = LABS[row.site]
                for axis in "xy":
                    assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(lab.mpp, rel=1e-9)


def test_a_finished_study_is_returned_at_once_and_another_config_is_refused(study: PhantomStudy) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.out.rglob("*")}
    assert make_phantom(study.out, CONFIG).digest == study.digest
    assert {path: path.stat().st_mtime_ns for path in study.out.rglob("*")} == before
    with pytest.raises(StudyError, match="remove the folder"):
        make_phantom(study.out, replace(CONFIG, seed=6))


def test_a_killed_run_goes_on_and_ends_the_same(study: PhantomStudy) -> None:
    record = json.loads((study.out / "phantom.json").read_text())
    (study.out / "phantom.json").write_text(json.dumps(record | {"digest": None}))
    lost = study.out / "slides" / "breast" / "B001-1.tif"
    kept = study.out / "slides" / "liver" / "L001-1.tif"
    wanted, stamp = file_hash(lost), kept.stat().st_mtime_ns
    lost.unlink()
    (study.out / "slides" / "breast" / ".B001-1.tif.partial").write_bytes(b"half")
    assert make_phantom(study.out, CONFIG, workers=1).digest == study.digest
    assert file_hash(lost) == wanted
    assert kept.stat().st_mtime_ns == stamp


def test_tile_tasks_lie_as_their_manifests_say(study: PhantomStudy) -> None:
    folders = sorted((study.out / "tiles").iterdir())
    assert [folder.name for folder in folders] == ["epithelium", "metastasis", "mitosis", "tissue"]
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["name"] == folder.name
        assert (manifest["mpp"], manifest["tile_px"]) == (0.5, 128)
        assert {path.name for path in folder.iterdir() if path.is_dir()} == set(manifest["classes"])
        for name in manifest["classes"]:
            tiles = list((folder / name).glob("*__*.jpg"))
            assert len({tile.name.split("__")[0] for tile in tiles}) == 18
            with Image.open(tiles[0]) as image:
                assert image.size == (128, 128)
    assert len(json.loads((study.out / "tiles/tissue/manifest.json").read_text())["classes"]) == 9


def test_the_truth_names_every_patient_and_its_oracles(study: PhantomStudy) -> None:
    truth = pd.read_csv(study.out / "truth.csv")
    for cohort in ("breast", "liver"):
        patients = set(pd.read_csv(study.out / f"{cohort}.csv").patient)
        assert set(truth[truth.cohort == cohort].patient) == patients
    known = truth.set_index("cohort").notna()
    assert known.loc["breast", "oracle_proliferation"].all()
    assert not known.loc["breast", "oracle_survival"].any()
    assert known.loc["liver", ["oracle_growth_pattern", "oracle_survival"]].all(axis=None)


BREAST = BreastSlide("B9-1", "aspen", 8, 40.0, 10.0, 200.0, 0.6, 1.0)
LIVER = LiverSlide("L9-1", "elm", 14, 1, 1, 90.0, 500.0, 1.0)


def test_the_same_seed_gives_the_same_pixels(tmp_path: Path) -> None:
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_breast(BREAST, tmp_path / f"{name}.tif", seed)
        draw_liver(LIVER, tmp_path / f"{name}-liver.tif", seed)
        hashes.append((file_hash(tmp_path / f"{name}.tif"), file_hash(tmp_path / f"{name}-liver.tif")))
    assert hashes[0] == hashes[1]
    assert hashes[0][0] != hashes[2][0]
    assert hashes[0][1] != hashes[2][1]


def test_an_older_phantom_gets_new_columns_and_keeps_its_slides(study: PhantomStudy, tmp_path: Path) -> None:
    older = copytree(study.out, tmp_path / "older")
    whole = {path: (path.read_text(), path.stat().st_mtime_ns) for path in older.rglob("*.csv")}
    drawn = {path: path.stat().st_mtime_ns for path in older.rglob("*.tif")}
    pd.read_csv(older / "breast.csv").drop(columns="grade").to_csv(older / "breast.csv", index=False)
    assert make_phantom(older, CONFIG, workers=1).digest == study.digest
    assert {path: path.read_text() for path in whole} == {path: text for path, (text, _) in whole.items()}
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


def test_slides_with_more_mitoses_show_more(tmp_path: Path) -> None:
    dark = []
    for rate in (0.0, 400.0):
        draw_breast(replace(BREAST, mitoses_per_mm2=rate, pyknoses_per_mm2=0.0), tmp_path / "a.tif", 0)
        with openslide.OpenSlide(tmp_path / "a.tif") as slide:
            pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("L"))
        dark.append((pixels < 60).mean())
    assert dark[1] > dark[0] + 1e-3


@pytest.mark.parametrize("mpp", [0.2425, 0.25, 0.4545, 0.5])
def test_a_pyramid_keeps_colours_and_resolution(tmp_path: Path, mpp: float) -> None:
    image = np.zeros((700, 901, 3), np.uint8)
    image[:, :450], image[:, 450:] = (200, 90, 160), (245, 243, 240)
    write_pyramid(tmp_path / "p.tif", image, mpp, 90)
    assert [path.name for path in tmp_path.iterdir()] == ["p.tif"]
    with openslide.OpenSlide(tmp_path / "p.tif") as slide:
        assert slide.level_dimensions == ((901, 700), (450, 350), (225, 175))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp, rel=1e-9)
        for level, factor in enumerate(slide.level_downsamples):
            pixel = slide.read_region((200, 200), level, (round(200 / factor), 100)).convert("RGB").getpixel((20, 20))
            assert np.abs(np.subtract(pixel, (200, 90, 160))).max() <= 3


def test_small_concentrations_leave_glass_white() -> None:
    table = colour_table(TRAIN_LABS[0], np.random.default_rng(0)).view(np.uint8).reshape(256, 256, 4)
    assert table[0, 0, :3].min() > 235
    assert (np.diff(table[:, 0, :3].astype(int), axis=0) <= 0).all()
    assert table[150, 60, 0] < table[0, 60, 0]
