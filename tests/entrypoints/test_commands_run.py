"""The written commands are run as they stand, in a copy of the project with a small study and its registered models.

What cannot be run here is in NOT_RUN with the reason, and what is put in place of names that are examples in STAND_INS.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import requests
import yaml
from small_study import Place, place_in
from stores import free_port, listening
from written_commands import ROOT, Command, all_commands, snippets

pytestmark = pytest.mark.slow  # each command starts a program

COMMANDS = all_commands()
GATE = {"figure": "external.spearman", "at_least": -1.0, "margin": 2.0}
NAME = "nic-score"
TOKEN = "open-sesame"
QUICK = ("trials=0", "encoder_epochs=1", "patient_epochs=2")
NOT_RUN = {
    r"\.\.\.": "shows a form",
    r"^(-P|[a-z_]+ -P)": "parameters of a command that stands in the sentence",
    r"-P \w+=( |$)": "shows a form",
    r"^mlflow( \w+| models \w+| migrate-filestore)$": "the name of a command; those with options are run",
    r"^make": "the whole study, the suite, pip, or the image: tests/tracking/test_deployment.py writes one",
    r"^(pip|pytest)": "installs; or runs tests",
    r"git://": "an address as an example; https://git.example.org is run, by a server on this machine",
    r"^(docker|docker-compose|git|nginx|ray|mkdir)": "programs of others, which need a service or root",
    r"engine=ray": "tests/compression/test_on_ray.py has a cluster",
    r"^(curl|mlflow models serve|python -m registry.server|mlflow ui|mlflow server)": "run by the tests of servers",
    r"^mlflow run \. --env-manager local$|compare_networks$": "the phantom study; -P study=studies/mine.yaml runs all",
    r"-e ablation --env-manager local$": "hours; with study=studies/mine.yaml it is run",
    r"^python( -m venv.*)?$": "the name of a program",
    r"^python -m benchmarks": "minutes; --help is run",
    r"^python docs/picture\.py": "needs what `make demo` left",
    r"^sh benchmarks/gpu\.sh": "needs a GPU",
    r"^cp studies/": "would replace the study of this test",
    r"reference_answers|nic\.slides|nic\.encoder": "started by nic itself",
    r"codes=work/uni": "tests/entrypoints/test_imported_codes.py trains on codes of another tool",
    r"/models/encoder\.onnx": "tests/encoder/test_foreign.py imports such graphs",
    r"studies/(yours|real_tiles|phantom_classes|tupac16|liver)\.yaml": "an example; needs data; the phantom",
}
"""By the command's words, why it is not run here."""


@dataclass(frozen=True)
class Here:
    """A copy of the project in which commands are run. place: its small study and store."""

    project: Path
    place: Place
    git_port: int

    @property
    def stand_ins(self) -> dict[str, str]:
        """What stands here for the names in documents, which are examples."""
        slides, shared = self.place.folder / "slides", self.project / "shared"
        return {
            "/slides/*.svs": f"{slides}/s1*.tif",
            "/slides/A-12.svs": f"{slides}/s12.tif",
            "/slides/B-07.tif": f"{slides}/s7.tif",
            "P slides=/slides": f"P slides={slides}",
            "table=clinical.csv": f"table={self.place.folder / 'cohort.csv'}",
            "/data/clinical.xlsx": f"{self.place.folder / 'cohort.csv'}",
            "/share/slides": f"{slides}",
            "/data/slides": f"{slides}",
            "/share/tiles": f"{self.place.folder / 'tiles'}",
            "site=Hospital": "site=site",
            "external=Elm": "external=elm",
            "external=Delft": "external=elm",
            "name=mine": "name=begun",
            "/shared/": f"{shared}/",
            "/data/mine/": f"{self.project}/mine/",
            "https://git.example.org/lab/nic": f"git://127.0.0.1:{self.git_port}/project",
            "nic-growth-pattern/3": f"{NAME}/2",
            "nic-proliferation/3": f"{NAME}/2",
            "nic-growth-pattern": NAME,
            "nic-marker": NAME,
            "sqlite:///mlflow.db": self.place.uri,
            "nic-proliferation": NAME,
            "predictions.csv": "answers.csv",
        }

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"MLFLOW_TRACKING_URI": self.place.uri, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
        return os.environ | settings | {"PYTHONPATH": ""}  # MLflow has put the experiment into the environment

    def words(self, command: Command) -> list[str]:
        words = []
        for word in command.words:
            for written, ours in self.stand_ins.items():
                word = f"P {word}".replace(written, ours).removeprefix("P ")
            words.append(word)
        if "studies/mine.yaml" in command.text or "study.yaml" in command.text:
            parameters = QUICK if "-e" not in words else SHORTER.get(words[words.index("-e") + 1], ())
            words += [part for parameter in parameters for part in ("-P", parameter)]
        return words

    def run(self, words: list[str], timeout_s: int = 900) -> str:
        """What a command prints. Raises AssertionError when it fails."""
        environment = self.environment | {"NIC_SLIDE_ROOTS": str(self.place.folder / "slides")}
        ran = subprocess.run(
            words, cwd=self.project, env=environment, capture_output=True, text=True, timeout=timeout_s
        )
        # With strict=true `monitor` ends with 1 where it has an alarm, and the few patients here may give one.
        alarm = "strict=true" in words and "Please look at" in ran.stdout
        assert ran.returncode == int(alarm), f"{words}\n{ran.stdout[-3000:]}{ran.stderr[-6000:]}"
        return ran.stdout


SHORTER = {
    "ablation": (
        *("encoders=mean-rgb,all-uniform", "encoder_epochs=1", "epochs=2", "seeds=1", "encoder_seeds=1"),
        *("rivals=pooled-linear", "comparators="),
    ),
    "train_patients": ("epochs=2", "folds=2"),
    "train_encoder": ("trials=0", "epochs=1"),
}
"""Parameters that are added, by entry point, so that a training takes seconds."""


def copy_project(to: Path) -> None:
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """A registered model with two versions, the first of them champion."""
    folder, before = tmp_path_factory.mktemp("commands"), mlflow.get_tracking_uri()
    project = folder / "project"
    project.mkdir()
    copy_project(project)
    gates = {NAME: GATE, "nic-encoder": {"figure": "validation.auc", "at_least": 0.0}}
    (project / "registry" / "promotion.yaml").write_text(yaml.safe_dump(gates))
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    place = place_in(folder / "study", uri, str(folder / "mlruns"), gates)
    for epochs in (2, 3):
        place.train("study.yaml", epochs)
    place.promote(f"models:/{NAME}/1")
    mlflow.MlflowClient().set_registered_model_alias("nic-encoder", "champion", "1")
    example_files(project, place)
    port = free_port()
    make_repository(project)
    command = ["git", "daemon", f"--base-path={folder}", "--export-all", "--reuseaddr", f"--port={port}", str(folder)]
    daemon = subprocess.Popen([*command, "--listen=127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield Here(project, place, port)
    daemon.terminate()
    daemon.wait(30)
    mlflow.set_tracking_uri(before)


def example_files(project: Path, place: Place) -> None:
    """The files that documents name as the reader's own."""
    table = (place.folder / "cohort.csv").read_text().replace("slides/", f"{place.folder}/slides/")
    for file in ("cohort.csv", "shared/cohort.csv", "mine/cohort.csv"):
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).write_text(table)
    study = yaml.safe_load((place.folder / "study.yaml").read_text()) | {"root": str(place.folder)}
    for file in ("studies/mine.yaml", "mine/study.yaml"):
        (project / file).write_text(yaml.safe_dump(study))
    request = {"dataframe_records": [{"slide": f"{place.folder}/slides/s5.tif"}]}
    (project / "request.json").write_text(json.dumps(request))
    for codes in ("codes", "work/codes", "work/codes/breast"):
        shutil.copytree(place.codes, project / codes, dirs_exist_ok=True)
    features = project / "job" / "20x_256px_0px_overlap" / "features_uni_v1"
    command = [sys.executable, "-m", "entrypoints.export_features", "--layout", "trident"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": place.uri}
    options = ["--codes", str(place.codes), "--out", str(project / "exported")]
    subprocess.run([*command, *options], cwd=project, env=environment, check=True, capture_output=True)
    features.mkdir(parents=True)
    for file in (project / "exported").rglob("*.h5"):
        shutil.copy(file, features / file.name)


def make_repository(project: Path) -> None:
    git = ["git", "-C", str(project), "-c", "user.name=nic", "-c", "user.email=nic@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "The project"], check=True)
    subprocess.run([*git, "tag", "v1.0"], check=True)


def reason_not_to_run(command: Command) -> str:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command.text)), "")


def written(place: str, beginning: str) -> Command:
    return next(c for c in COMMANDS if c.place.startswith(place) and c.text.startswith(beginning))


RUN = [command for command in COMMANDS if not reason_not_to_run(command)]


@pytest.fixture(scope="module")
def answered(here: Here) -> None:
    """README's server answers README's request."""
    serve, ask = written("README.md", "mlflow models serve"), written("README.md", "curl")
    answers = ask_server(here, serve, ask, {})
    assert [answer["status"] for answer in answers] == ["ok", "ok"]
    assert len(answers[0]["map"]) == 1


def ask_server(here: Here, serve: Command, ask: Command, settings: dict[str, str]) -> list[dict[str, object]]:
    """Start a server, send a request, and run the Python of the page if it asks this server."""
    port = str(free_port())
    [old] = re.findall(r"http://127\.0\.0\.1:(\d+)/", ask.text)
    assert old in serve.words
    words = [port if word == old else word for word in here.words(serve)]
    environment = here.environment | settings | {"NIC_SLIDE_ROOTS": str(here.place.folder / "slides")}
    environment |= {"NIC_ANSWERS_LOG": str(here.project / "answers.jsonl")}
    with listening(words, f"http://127.0.0.1:{port}/health", here.project / "server.log", environment, here.project):
        request = [word.replace(f":{old}/", f":{port}/") for word in here.words(ask)]
        request = [word.replace("$NIC_API_TOKEN", settings.get("NIC_API_TOKEN", "")) for word in request]
        content = json.loads(here.run(request))
        for place, snippet in snippets():
            if place == ask.place and f":{old}/" in snippet:
                run_snippet(here, snippet.replace(f":{old}/", f":{port}/"), settings)
        (here.project / "answer.json").write_text(json.dumps(content))
        unknown = requests.post(
            f"http://127.0.0.1:{port}/invocations",
            json={"dataframe_records": [{"slid": "/x.tif"}]},
            headers={"Authorization": f"Bearer {settings.get('NIC_API_TOKEN', '')}"},
            timeout=60,
        )
        assert unknown.status_code == 400
        assert "known columns are slide, features, image, patient, mpp" in unknown.text
    answers: list[dict[str, object]] = content["predictions"]
    return answers


def run_snippet(here: Here, snippet: str, settings: dict[str, str]) -> str:
    for example, ours in here.stand_ins.items():
        snippet = snippet.replace(example, ours)
    ran = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=here.project,
        env=here.environment | settings,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_the_hospitals_server_answers_the_documented_request(here: Here, answered: None) -> None:
    serve, ask = written("docs/serving.md", "python -m registry.server"), written("docs/serving.md", "curl")
    answers = ask_server(here, serve, ask, {"NIC_API_TOKEN": TOKEN})
    assert [answer["status"] for answer in answers] == ["ok", "ok"]
    lines = (here.project / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 2 + 1  # README's request, this one, and that of the page's Python


def test_the_pages_show_the_store_that_is_named(here: Here) -> None:
    port = str(free_port())
    words = [*here.words(written("README.md", "mlflow ui --backend-store-uri")), "--port", port, "--workers", "1"]
    idle = here.environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no processes for jobs
    with listening(words, f"http://127.0.0.1:{port}/health", here.project / "ui.log", idle, here.project):
        search = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
        experiments = requests.post(search, json={"max_results": 100}, timeout=60).json()["experiments"]
    assert "story" in {experiment["name"] for experiment in experiments}


def test_python_in_documents_opens_a_map(here: Here, answered: None) -> None:
    row = {"slide": str(here.place.folder / "slides" / "s3.tif")}
    program = (
        "import json, sys, mlflow, pandas; model = mlflow.pyfunc.load_model(sys.argv[1]); "
        "rows = pandas.DataFrame([json.loads(sys.argv[2])]); "
        "answers = model.predict(rows, params={'map': 'png'}).to_dict('records'); "
        "open('answer.json', 'w').write(json.dumps({'predictions': answers}))"
    )
    environment = here.environment | {"NIC_SLIDE_ROOTS": str(here.place.folder / "slides")}
    words = [sys.executable, "-c", program, f"models:/{NAME}@champion", json.dumps(row)]
    subprocess.run(words, cwd=here.project, env=environment, check=True, capture_output=True)
    [snippet] = [content for place, content in snippets() if place == "docs/maps.md"]
    assert "slide 1" in run_snippet(here, snippet, {})
    assert (here.project / "map.png").is_file()


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.place} {command.text}"[:100])
def test_a_written_command_does_what_it_says(command: Command, here: Here, answered: None) -> None:
    if "delete_registered_model" in command.text:
        mlflow.MlflowClient().create_registered_model("nic-score.lock")
    if "-e monitor" in command.text:  # another command may have promoted another version since the servers answered
        mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    here.run(here.words(command))


def test_the_modules_of_the_other_commands_have_a_help(here: Here) -> None:
    modules = {c.words[2] for c in COMMANDS if c.words[:2] == ("python", "-m") and "benchmarks." in c.text}
    for module in sorted(modules):
        assert "usage" in here.run([sys.executable, "-m", module, "--help"]), module


def test_how_many_were_run() -> None:
    others = [command for command in COMMANDS if reason_not_to_run(command)]
    by_servers = sum("tests of servers" in reason_not_to_run(command) for command in others)
    print(f"{len(COMMANDS)} commands, {len(RUN) + by_servers} run, {len(others) - by_servers} checked by their words")
    for command in others:
        print(f"  {command.place}: {command.text[:80]}: {reason_not_to_run(command)}")
    assert len(RUN) > 15
