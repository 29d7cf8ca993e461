"""A study file is checked when it is read, and its errors name the file and the field."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from entrypoints import train_patients
from entrypoints.compress import Config
from nic.errors import StudyError
from nic.study import EndpointEntry, PhantomEntry, Study, read_study, read_whole_study, readable_part

DOCS = Path(__file__).resolve().parents[1] / "docs" / "tile_tasks.md"
PHANTOM = Path(__file__).resolve().parents[1] / "studies" / "phantom.yaml"


GRADE = {"name": "grade", "cohort": "liver", "kind": "ordinal", "column": "grade"}
POINTS = {"name": "a", "path": "x.csv", "layout": "points", "mpp": 0.5}
COHORT = {"table": "liver.csv"}
PUBLISHED = {"method": "winner", "value": 0.6, "n": 321}
SLIDES = {"name": "a", "path": "slides", "layout": "slides", "annotations": "outlines"}


def edited(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PHANTOM.read_text()) | changes))
    return path


def test_paths_are_relative_to_the_root_and_the_root_to_the_file(tmp_path: Path) -> None:
    study = read_study(edited(tmp_path, root="../elsewhere"))
    assert study.cohorts["breast"].table == (tmp_path.parent / "elsewhere" / "breast.csv").resolve()
    assert study.tile_tasks[0].path == (tmp_path.parent / "elsewhere" / "tiles" / "mitosis").resolve()


def test_the_embedded_study_has_the_three_kinds_of_endpoint() -> None:
    study = read_study(PHANTOM)
    assert {e.kind for e in study.endpoints} == {"regression", "classification", "survival"}
    assert study.endpoint("survival").endpoint.columns == ("time_months", "event")
    assert study.endpoint("growth-pattern").model_name == "nic-growth-pattern"


def test_grades_are_read_as_they_are_written(tmp_path: Path) -> None:
    """Numbers too: each is the name of a grade."""
    grade = "  - {name: grade, cohort: liver, kind: ordinal, column: g, classes: [1, 2, 3+]}"
    text = PHANTOM.read_text().replace("\ntruth:", f"{grade}\n\ntruth:")
    (tmp_path / "study.yaml").write_text(text)
    endpoint = read_study(tmp_path / "study.yaml").endpoint("grade").endpoint
    assert (endpoint.kind, endpoint.columns, endpoint.classes) == ("ordinal", ("g",), ("1", "2", "3+"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cohort": {}}, "cohort"),
        ({"endpoints": []}, "cohorts but no endpoints"),
        ({"endpoints": [{"name": "x", "cohort": "lung", "kind": "regression", "column": "y"}]}, "lung"),
        ({"endpoints": [{"name": "x", "cohort": "liver", "kind": "survival", "time": "t"}]}, "event"),
        ({"endpoints": [{"name": "x", "cohort": "liver", "kind": "ranking", "column": "y"}]}, "kind"),
        ({"endpoints": [{"name": "a/b", "cohort": "liver", "kind": "regression", "column": "y"}]}, "name"),
        ({"endpoints": [GRADE | {"positive": "2"}]}, "ordinal takes column; to leave out: positive"),
        (
            {"endpoints": [GRADE | {"kind": "multiclass", "classes": ["a", "b"]}]},
            "wanted 3 or more, each once, not a, b",
        ),
        ({"endpoints": [GRADE | {"classes": ["a", "b", "a"]}]}, "each once, not a, b, a"),
        ({"endpoints": [GRADE | {"kind": "regression", "classes": ["a", "b", "c"]}]}, "leave them out of a regression"),
        ({"tile_tasks": [{"name": "a", "path": "x", "mpp": -1}]}, "mpp"),
        ({"tile_tasks": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "twice"),
        ({"tile_tasks": [{"name": "a/b", "path": "x"}]}, r"tile_tasks\.0\.folder\.name"),
        ({"tile_tasks": [{"name": "a", "path": "x", "layout": "zarr"}]}, r"tile_tasks\.0: .*'zarr'.*'folder', 'hdf5'"),
        ({"tile_tasks": [{"name": "a", "path": "x", "colour": 1}]}, r"tile_tasks\.0\.folder\.colour: no such key$"),
        ({"tile_tasks": [{"name": "a", "path": "x", "layout": "hdf5"}]}, r"tile_tasks\.0\.hdf5\.mpp: missing"),
        (
            {"tile_tasks": [POINTS | {"mpp_column": "mpp"}]},
            r"tile_tasks\.0\.points: .*mpp where all share it, else mpp_",
        ),
        ({"tile_tasks": [POINTS | {"mpp": None}]}, r"tile_tasks\.0\.points: .*wanted the um/px of the images"),
        ({"tile_tasks": [POINTS | {"group_column": "a", "group_pattern": "b"}]}, "group_column and group_pattern"),
        ({"tile_tasks": [POINTS | {"group_pattern": "(a"}]}, r"tile_tasks\.0\.points\.group_pattern"),
        ({"tile_tasks": [POINTS | {"too_small": "stretch"}]}, r"tile_tasks\.0\.points\.too_small.*'refuse', 'pad'"),
        ({"tile_tasks": [SLIDES | {"least_share": 1.5}]}, r"tile_tasks\.0\.slides\.least_share"),
        ({"tile_tasks": [SLIDES | {"annotations": None}]}, r"tile_tasks\.0\.slides\.annotations"),
        ({"tile_tasks": [SLIDES | {"background_from": "^n"}]}, "background_from is set, and no background"),
        (
            {"tile_tasks": [SLIDES | {"about": {"url": "x", "sise": 1}}]},
            r"about\.sise: no such key; did you mean 'size'",
        ),
        ({"cohorts": {"liver": COHORT | {"about": {"size": 1}}}}, r"cohorts\.liver\.about\.url: missing"),
        ({"cohorts": {"liver": COHORT | {"numbered": "T-001.svs"}}}, "'T-001.svs' has no #"),
        ({"cohorts": {"liver": COHORT | {"header": ["a", "b|c"]}}}, "'b|c': wanted a name without comma, bar"),
        (
            {"endpoints": [GRADE | {"published": [PUBLISHED | {"metod": "x"}]}]},
            "metod: no such key; did you mean 'meth",
        ),
        ({"endpoints": [GRADE | {"published": [PUBLISHED | {"n": "many"}]}]}, r"published\.0\.n: found 'many'"),
    ],
)
def test_faults_are_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        read_study(edited(tmp_path, **changes))
    assert "study.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"overlap_px": 32, "min_tissue": 0.5, "variants": 8}, {"overlap_px": 32, "min_tissue": 0.5, "variants": 8}),
        ({"exclude": ["blurred", "pen"]}, {"exclude": "blurred,pen"}),
        ({"exclude": []}, {"exclude": ""}),
        ({"tissue": "all"}, {"tissue": "all"}),
        ({"tissue": 20}, {"tissue": "20.0"}),
        ({"tissue": 0}, {"tissue": "0.0"}),
        ({"masks": "masks"}, {"tissue": "/data/masks"}),
        ({"masks": "masks", "mask_bounds": False}, {"tissue": "/data/masks", "mask_bounds": False}),
        ({}, {}),
    ],
)
def test_a_cohort_says_how_its_slides_are_compressed(
    tmp_path: Path, given: dict[str, object], wanted: dict[str, object]
) -> None:
    cohort = {"table": "breast.csv", "compress": given}
    study = read_study(edited(tmp_path, root="/data", cohorts={"breast": cohort, "liver": "liver.csv"}))
    assert study.cohorts["breast"].compress.parameters == wanted
    assert study.cohorts["liver"].compress.parameters == {}
    config = Config(**study.cohorts["breast"].compress.parameters)
    assert asdict(config) == asdict(Config()) | wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overlap_px": 64}, "overlap_px"),
        ({"min_tissue": 0}, "min_tissue"),
        ({"variants": 4}, "variants"),
        ({"exclude": ["folds"]}, "no QC test 'folds'; wanted some of pen, dark, blurred"),
        ({"tissue": 300}, "tissue"),
        ({"tissue": "all", "masks": "masks"}, "both tissue and masks"),
        ({"stride": 32}, "stride: no such key$"),
    ],
)
def test_wrong_parameters_of_compress_are_refused_at_once(tmp_path: Path, given: dict[str, object], said: str) -> None:
    """Not hours later, after the training of the encoder."""
    cohorts = {"breast": {"table": "breast.csv", "compress": given}, "liver": "liver.csv"}
    with pytest.raises(StudyError, match=said):
        read_study(edited(tmp_path, cohorts=cohorts))


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [1"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"broken\.yaml"):
        read_study(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere\.yaml"):
        read_study(tmp_path / "nowhere.yaml")


def test_an_unknown_endpoint_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(StudyError, match="growth-pattern"):
        read_study(PHANTOM).endpoint("grade")


def test_every_path_of_a_tile_task_is_under_the_root(tmp_path: Path) -> None:
    hdf5 = {"name": "b", "layout": "hdf5", "path": "x.h5", "labels": "y.h5", "mpp": 0.97}
    study = read_study(edited(tmp_path, root="data", tile_tasks=[SLIDES, hdf5, POINTS | {"name": "c"}]))
    root = tmp_path.resolve() / "data"
    slides, tiles, points = study.tile_tasks
    assert (slides.path, getattr(slides, "annotations", None)) == (root / "slides", root / "outlines")
    assert (tiles.path, getattr(tiles, "labels", None), getattr(tiles, "meta", "")) == (
        root / "x.h5",
        root / "y.h5",
        None,
    )
    assert points.path == root / "x.csv"


def test_tile_tasks_alone_are_a_study_for_encoders_only(tmp_path: Path) -> None:
    path = edited(tmp_path, cohorts={}, endpoints=[])
    assert len(read_study(path).tile_tasks) == 4
    with pytest.raises(StudyError, match=r"study\.yaml: tile tasks only.*train_encoder"):
        read_whole_study(path)
    with pytest.raises(StudyError, match="no endpoint 'survival'; it has none"):
        read_study(path).endpoint("survival")
    assert read_whole_study(PHANTOM).endpoints


def test_the_examples_of_the_documentation_are_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("".join(re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)))
    layouts = [task.layout for task in read_study(path).tile_tasks]
    assert layouts == ["folder", "hdf5", "points", "marks", "slides"]


TASK = "  - {name: a, path: x, mpp: 1}\n"
ENDPOINT = "cohorts: {c: c.csv}\nendpoints:\n - {name: e, cohort: c, kind: classification, column: msi, positive: %s}\n"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Study:
    (folder / "study.yaml").write_text(text, encoding=encoding)
    return read_study(folder / "study.yaml")


@pytest.mark.parametrize("word", ["yes", "no", "off", "True", "1", "0", "1.0", "007", "1e3", "0x1F", "2020-01-01"])
def test_a_word_without_quotes_is_text(tmp_path: Path, word: str) -> None:
    """YAML reads most of these as truth, numbers and days."""
    assert written(tmp_path, f"name: s\ntile_tasks:\n{TASK}{ENDPOINT % word}").endpoints[0].positive == word
    task = f"  - {{name: a, path: x, mpp: 1, ignore: {word}, classes: {{{word}: [{word}x], other: {word}}}}}\n"
    (entry,) = written(tmp_path, f"name: s\ntile_tasks:\n{task}").tile_tasks
    assert entry.classes == {word: (f"{word}x",), "other": (word,)}
    assert entry.ignore == (word,)


def test_numbers_and_booleans_are_read_where_a_field_needs_them(tmp_path: Path) -> None:
    study = written(tmp_path, f"name: 7\nphantom: yes\ntile_tasks:\n{TASK.replace('mpp: 1', 'mpp: 2.5e-1')}")
    assert (study.name, study.phantom, study.tile_tasks[0].mpp) == ("7", PhantomEntry(), 0.25)
    cohort = "cohorts: {c: {table: c.csv, split: null, compress: {variants: 8, tissue: 20, overlap_px: 16}}}\n"
    endpoint = "endpoints: [{name: e, cohort: c, kind: survival, time: t, event: e, covariates: age}]\n"
    study = written(tmp_path, f"name: s\ntile_tasks:\n{TASK}{cohort}{endpoint}")
    compress = study.cohorts["c"].compress
    assert (compress.variants, compress.tissue, compress.overlap_px) == (8, 20.0, 16)
    assert study.cohorts["c"].split is None
    assert study.endpoints[0].covariates == ("age",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"name: s\ntile_tasks:\n{TASK}{ENDPOINT % 'null'}",
            r"takes column, positive; missing: positive",
        ),
        (f"name: s\ntile_tasks:\n{TASK}{ENDPOINT % '[a]'}", r"endpoints\.0\.positive: found a list, wanted text"),
        ("name: s\ntile_tasks: [{name: a, path: x, mpp: '0,5'}]", r"mpp: found '0,5', wanted a number"),
        ("name: s\ntile_tasks: [{name: a, path: x, mpp: -1}]", r"mpp: found '-1', wanted above 0"),
        ("name: s\ntile_tasks: [{name: a, path: x, mmp: 1}]", r"mmp: no such key; did you mean 'mpp'\?"),
        ("name: s\ntile_tasks: [{name: a/b, path: x}]", r"name: found 'a/b', wanted letters, digits, underscores"),
        (
            "name: s\ntile_tasks: [{name: a, path: x, ignore: [null]}]",
            r"nothing \(null; .* quotes\), wanted text",
        ),
        ("name: s\ntile_tasks: []", r"tile_tasks: empty, wanted at least one"),
        ("name: s\ntile_tasks: x", r"tile_tasks: found 'x', wanted a list"),
        ("tile_tasks: [{name: a, path: x}]", r"study\.yaml: name: missing"),
        ("name: s\nname: t\ntile_tasks: [{name: a, path: x}]", r"'name' stands twice"),
        (f"name: s\ntile_tasks:\n{TASK}phantom: perhaps", r"phantom: found 'perhaps', wanted true or false"),
        (
            f"name: s\ntile_tasks:\n{TASK}{(ENDPOINT % 'x').replace('positive', 'covariates: [age], positive')}",
            r"covariates are for survival only; leave them out of a classification",
        ),
    ],
)
def test_faults_are_sentences(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        written(tmp_path, text)
    assert "Input should" not in str(caught.value)


def test_a_study_file_in_another_encoding_is_read_or_refused(tmp_path: Path) -> None:
    text = f"name: Größe\ntile_tasks:\n{TASK}"
    assert {written(tmp_path, text, code).name for code in ("utf-8", "utf-8-sig", "utf-16", "cp1252")} == {"Größe"}
    (tmp_path / "study.yaml").write_bytes(b"name: \x81\n")
    with pytest.raises(StudyError, match=r"study\.yaml: neither UTF-8 nor"):
        read_study(tmp_path / "study.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path)


def test_a_cohort_may_have_a_clinical_table_and_say_how_tables_are_written(tmp_path: Path) -> None:
    clinical = {"table": "clinical.csv", "patient": "Patient ID", "decimal": "comma"}
    cohort = {"table": "slides.csv", "split": None, "separator": "semicolon", "clinical": clinical}
    study = read_study(edited(tmp_path, root=".", cohorts={"breast": cohort, "liver": "liver.csv"}))
    (tmp_path / "slides.csv").write_text("patient;slide;a,b\nP1;a.svs;x\n")
    (tmp_path / "clinical.csv").write_text("Patient ID;score\nP1;1,234\n")
    read = study.cohorts["breast"].read()
    assert read.columns == ("patient", "slide", "a,b", "score", "split")
    assert read.patients[0].rows[0].cells["score"] == "1.234"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"separator": "blank"},
            r"cohorts\.breast\.separator: found 'blank', wanted 'comma', 'semicolon', 'tab' or 'bar'",
        ),
        ({"encoding": "ansi8"}, "encoding: found 'ansi8'"),
        (
            {"clinical": {"table": "c.csv", "decimal": "dot"}},
            "clinical.decimal: found 'dot', wanted 'comma' or 'point'",
        ),
        ({"clinical": {"table": "c.csv", "patent": "ID"}}, r"clinical\.patent: no such key; did you mean 'patient'\?"),
    ],
)
def test_a_wrong_key_of_a_table_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    cohorts = {"breast": {"table": "breast.csv", **changes}, "liver": "liver.csv"}
    with pytest.raises(StudyError, match=said):
        read_study(edited(tmp_path, cohorts=cohorts))


WHOLE = """
name: s
encoder: nic-encoder@champion
cohorts: {c: c.csv}
endpoints:
  - {name: e, cohort: c, kind: survival, time: t, event: e}
"""


def changed(folder: Path, old: str, new: str) -> Study:
    return written(folder, WHOLE.replace(old, new))


@pytest.mark.parametrize("name", ["nic-encoder@champion", "nic-encoder/3", "models:/nic-encoder/3", "uni-h@challenger"])
def test_a_study_on_a_registered_encoder_needs_no_tile_tasks(tmp_path: Path, name: str) -> None:
    study = changed(tmp_path, "nic-encoder@champion", name)
    assert study.encoder == f"models:/{name.removeprefix('models:/')}"
    assert study.tile_tasks == ()


@pytest.mark.parametrize("name", ["encoder.onnx", "/data/encoder.h5", "nic-encoder", "models:/nic-encoder/latest"])
def test_an_encoder_that_is_no_registered_version_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match=r"encoder: found .*, wanted a registered version: .*import_encoder"):
        changed(tmp_path, "nic-encoder@champion", name)


def test_a_study_without_tile_tasks_and_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="neither tile_tasks nor encoder"):
        changed(tmp_path, "encoder: nic-encoder@champion", "")


def test_a_study_says_how_its_patients_networks_are_trained(tmp_path: Path) -> None:
    study = changed(tmp_path, "name: s", "name: s\nfolds: 3\nnetwork: pooled-linear\nepochs: 15")
    assert (study.folds, study.network, study.epochs) == (3, "pooled-linear", 15)
    usual, config = changed(tmp_path, "", ""), train_patients.Config(Path("s"), "e", Path("codes"))
    assert (usual.folds, usual.network, usual.epochs) == (config.folds, config.network, config.epochs)
    for key, message in (
        ("folds: 1", "folds: found '1', wanted at least 2"),
        ("network: cnn", "wanted 'context-mil', 'grid-cnn', "),
    ):
        with pytest.raises(StudyError, match=message):
            changed(tmp_path, "name: s", f"name: s\n{key}")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ("{Dead: 1, Alive: 0}", (("Dead", 1.0), ("Alive", 0.0))),
        ("{Dead: yes, Alive: no}", (("Dead", 1.0), ("Alive", 0.0))),
        ("{Dead: true, Alive: False, lost: 0}", (("Dead", 1.0), ("Alive", 0.0), ("lost", 0.0))),
    ],
)
def test_words_of_an_event_have_a_meaning(tmp_path: Path, values: str, wanted: tuple[tuple[str, float], ...]) -> None:
    (entry,) = changed(tmp_path, "event: e", f"event: e, values: {values}").endpoints
    assert entry.endpoint.values == wanted


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("event: e", "event: e, values: {Dead: 2}", r"values: Dead: 2, wanted 1 \(the event was seen\) or 0"),
        ("event: e", "event: e, values: {Dead: 1, dead: 0}", "two words differ in capitals only"),
        ("event: e", "event: e, values: {unknown: 0}", "'unknown' means an empty cell in every table"),
        ("event: e", "event: e, values: {Dead: perhaps}", "values.Dead: found 'perhaps', wanted a number"),
        ("event: e", "event: e, positive: Dead", r"to leave out: positive; .* values: \{Dead: 1, Alive: 0\}"),
        (
            "kind: survival, time: t, event: e",
            "kind: classification, column: x, positive: a, values: {a: 1}",
            "values are for a regression or an event",
        ),
        ("kind: survival, time: t, event: e", "kind: multiclass, column: x, positive: a", "to leave out: positive$"),
    ],
)
def test_words_without_one_meaning_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        changed(tmp_path, old, new)


def test_a_definition_without_the_newer_keys_is_what_it_was(tmp_path: Path) -> None:
    """Models of older studies are compared by it."""
    (entry,) = changed(tmp_path, "", "").endpoints
    older = '{"columns": ["t", "e"], "kind": "survival", "name": "e", "positive": null, "unit": ""}'
    assert entry.endpoint.definition == older
    (entry,) = changed(tmp_path, "event: e", "event: e, gate: {figure: external.c_index, at_least: 0.6}").endpoints
    assert entry.endpoint.definition == older
    (entry,) = changed(tmp_path, "event: e", "event: e, values: {Dead: 1}").endpoints
    assert '"values": [["Dead", 1.0]]' in entry.endpoint.definition


def test_a_gate_stands_under_its_endpoint(tmp_path: Path) -> None:
    study = changed(tmp_path, "event: e", "event: e, gate: {figure: external.c_index, at_least: 0.6, margin: 0.1}")
    assert {name: (str(gate.figure), gate.at_least, gate.margin) for name, gate in study.gates.items()} == {
        "nic-e": ("external.c_index", 0.6, 0.1)
    }
    with pytest.raises(StudyError, match=r"endpoints\.0\.gate\.at_leats: no such key; did you mean 'at_least'"):
        changed(tmp_path, "event: e", "event: e, gate: {figure: external.c_index, at_leats: 0.6}")


BROKEN = """
nmae: s
folds: 1
tile_tasks: [{name: a, path: x, mmp: 1}, {name: b/c, path: y}]
cohorts: {c: c.csv, d: {table: d.csv, compress: {stride: 3}}}
endpoints:
 - {name: e, cohort: c, kind: classification, column: msi}
 - {name: twin, cohort: c, kind: survival, time: t, event: e, covariate: [age]}
 - {name: twin, cohort: f, kind: regression, column: x}
"""


def test_all_faults_of_a_file_are_reported_at_once_and_the_rest_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BROKEN)
    with pytest.raises(StudyError) as caught:
        read_study(tmp_path / "study.yaml")
    wanted = [
        "nmae: no such key; did you mean 'name'?",
        "name: missing",
        "folds: found '1', wanted at least 2",
        "tile_tasks.0.folder.mmp: no such key; did you mean 'mpp'?",
        "tile_tasks.1.folder.name: found 'b/c'",
        "cohorts.d.compress.stride: no such key",
        "endpoints.0: classification takes column, positive; missing: positive",
        "endpoints.1.covariate: no such key; did you mean 'covariates'?",
        "endpoint named twice: twin",
        "endpoint twin: cohort 'f' is not among c, d",
    ]
    lines = str(caught.value).splitlines()
    assert len(lines) == len(wanted)
    assert all(any(line.startswith(f"study.yaml: {part}") for line in lines) for part in wanted), lines
    study, faults = readable_part(tmp_path / "study.yaml")
    assert faults == tuple(lines)
    assert [task.name for task in study.tile_tasks] == ["a"]
    assert [entry.kind for entry in study.endpoints] == ["survival", "regression"]


def test_a_truth_of_yaml_is_the_word_of_the_table() -> None:
    """Who builds a study in Python may have a bool where the file has a word."""
    entry = EndpointEntry(name="e", cohort="c", kind="classification", column="x", positive=True)  # type: ignore[arg-type]
    assert entry.positive == "true"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("true", PhantomEntry()),
        ("yes", PhantomEntry()),
        ("false", None),
        ("{train: 200, external: 100, seed: 1}", PhantomEntry(seed=1, train=200, external=100)),
    ],
)
def test_a_phantom_says_how_much_is_drawn(tmp_path: Path, written: str, expected: PhantomEntry | None) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: s\ntile_tasks:\n  - {{name: a, path: x, mpp: 1}}\nphantom: {written}\n")
    assert read_study(path).phantom == expected
