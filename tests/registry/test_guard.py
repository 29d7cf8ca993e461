"""The guard before MLflow's app: whom it lets in, what its errors reveal, and how it counts."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from nic.errors import SettingError
from nic.serving.operator_log import INTERNAL
from nic.serving.requests import columns_in
from registry.server import Guard, admission, refuse_unguarded

ROW = {"status": "ok", "reason": "", "tiles": 3, "failed_tiles": 0, "ood": False}


def answering(status: int, content: object) -> Any:
    """An app that answers like MLflow's."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    return app


def failing(error: Exception) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


def ask(
    guard: Guard,
    body: object = None,
    server: tuple[str, int | None] | None = ("127.0.0.1", 8080),
    path: str = "/invocations",
    headers: tuple[tuple[str, str], ...] = (),
) -> tuple[int, dict[str, Any]]:
    """Status and content of the answer."""
    sent: list[Message] = []
    encoded = [(name.encode(), value.encode()) for name, value in (("content-type", "application/json"), *headers)]
    scope = {"type": "http", "path": path, "server": server, "client": ("127.0.0.1", 1), "headers": encoded}

    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def requests_counted(status: int) -> float:
    return REGISTRY.get_sample_value("nic_requests_total", {"status": str(status)}) or 0.0


OK = answering(200, {"predictions": [ROW]})


@pytest.mark.parametrize("server", [("127.0.0.1", 8080), ("127.3.2.1", 8080), ("::1", 8080), ("/run/nic.sock", None)])
def test_without_a_token_this_machine_is_answered(server: tuple[str, int | None]) -> None:
    assert ask(Guard(OK, 1000, ""), server=server)[0] == 200


@pytest.mark.parametrize("server", [("0.0.0.0", 8080), ("10.0.0.7", 8080), ("fe80::1", 8080), ("nic", 80), None])
def test_without_a_token_no_other_machine_is_answered_whatever_it_says(server: tuple[str, int | None] | None) -> None:
    claim = (("x-forwarded-for", "127.0.0.1"), ("host", "localhost"))
    for path in ("/invocations", "/metrics", "/docs"):
        status, content = ask(Guard(OK, 1000, ""), server=server, headers=claim, path=path)
        assert (status, "NIC_API_TOKEN" in content["error"]) == (403, True)
    assert ask(Guard(OK, 1000, ""), server=server, path="/health")[0] == 200
    assert ask(Guard(OK, 1000, "", anybody=True), server=server)[0] == 200
    assert ask(Guard(OK, 1000, "secret"), server=server)[0] == 401
    assert ask(Guard(OK, 1000, "secret"), server=server, headers=(("authorization", "Bearer secret"),))[0] == 200


@pytest.mark.parametrize("token", [None, "", "  "])
def test_a_server_without_a_token_does_not_start_for_the_network(
    monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    monkeypatch.delenv("NIC_OPEN", raising=False)
    monkeypatch.delenv("NIC_API_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("NIC_API_TOKEN", token)
    with pytest.raises(SystemExit, match=r"without NIC_API_TOKEN only this machine is answered"):
        refuse_unguarded("0.0.0.0")
    refuse_unguarded("127.0.0.1")
    monkeypatch.setenv("NIC_OPEN", "true")
    refuse_unguarded("0.0.0.0")
    monkeypatch.setenv("NIC_OPEN", "maybe")
    with pytest.raises(SettingError, match="NIC_OPEN"):
        admission({"NIC_OPEN": "maybe"})
    monkeypatch.setenv("NIC_OPEN", "")
    monkeypatch.setenv("NIC_API_TOKEN", "secret")
    refuse_unguarded("0.0.0.0")


def test_a_fault_on_one_row_is_answered_and_counts_as_500() -> None:
    before = requests_counted(200), requests_counted(500), REGISTRY.get_sample_value("nic_row_faults_total")
    bad = {**ROW, "status": "refused", "reason": f"OverLimit: slide 1: late; {INTERNAL}"}
    status, content = ask(Guard(answering(200, {"predictions": [ROW, bad, ROW]}), 1000, ""))
    assert (status, content["predictions"][0]["status"]) == (200, "ok")
    after = requests_counted(200), requests_counted(500), REGISTRY.get_sample_value("nic_row_faults_total")
    assert [b - (a or 0) for a, b in zip(before, after, strict=True) if b is not None] == [0, 1, 1]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError("jane"), 500),
        (OSError(28, "jane"), 500),
        (RuntimeError("jane"), 500),
        (ValueError("jane"), 400),
        (RecursionError("jane"), 400),
    ],
)
def test_what_fails_in_mlflow_is_the_servers_or_the_requests(error: Exception, status: int) -> None:
    before = requests_counted(status)
    code, content = ask(Guard(failing(error), 1000, ""))
    assert code == status
    assert "jane" not in content["error"]
    assert requests_counted(status) == before + 1


def test_an_answer_that_is_no_json_is_a_fault_of_the_server() -> None:
    before = requests_counted(500)
    assert ask(Guard(answering(200, {"something": "else"}), 1000, ""))[0] == 500
    assert requests_counted(500) == before + 1


def mlflow_says(reason: str) -> Any:
    return answering(400, {"message": f"Failed to predict data '  slide\n0 jane'. \nError: {reason}"})


def test_our_own_reason_is_told_and_mlflows_words_are_not() -> None:
    assert ask(Guard(mlflow_says("nic: 300 rows, wanted at most 256; ask in parts"), 1000, "")) == (
        400,
        {"error": "300 rows, wanted at most 256; ask in parts"},
    )
    status, content = ask(Guard(mlflow_says("Failed to enforce schema of data 'jane'"), 1000, ""))
    assert (status, "jane" in content["error"]) == (400, False)


KNOWN = "known columns are slide, features, image, patient, mpp"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {"dataframe_records": [{"slid": "jane"}, {"mp": 1, "slid": 2}]},
            "no row has a column slide, features or image; the columns are slid (did you mean slide?), "
            "mp (did you mean mpp?)",
        ),
        (
            {"dataframe_split": {"columns": ["slid"], "data": [["jane"]]}},
            "no row has a column slide, features or image; the columns are slid (did you mean slide?)",
        ),
        (
            {"dataframe_records": [{"slide": "jane"}, {"slide": "jane", "mmp": 0.25}]},
            "unknown column mmp (did you mean mpp?)",
        ),
        ({"inputs": {"slide": ["jane"], "hospital": [1]}}, "unknown column hospital"),
        ({"instances": [{"slide": "jane", "weight": 1}]}, "unknown column weight"),
    ],
)
def test_a_column_that_is_not_known_is_refused_before_mlflow_drops_it(body: object, reason: str) -> None:
    assert ask(Guard(OK, 1000, ""), body) == (400, {"error": f"{reason}; {KNOWN}"})


def test_the_columns_of_a_csv_are_those_of_its_first_line() -> None:
    assert columns_in(b"slide,mmp\n/x.tif,0.25\n", "text/csv; charset=utf-8") == ["slide", "mmp"]
    assert columns_in(b",slide\n0,/x.tif\n", "text/csv") == ["slide"]  # pandas writes its index without a name


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"slide": "a", "mpp": 0.25}, {"image": "b", "mpp": 1, "patient": "c"}]},
        {"dataframe_split": {"columns": ["features"], "data": [["a"]]}},
        {"inputs": ["jane"]},
        {"dataframe_records": ["jane"]},
        {"dataframe_split": 5},
        ["jane"],
        None,
    ],
)
def test_other_requests_reach_the_model(body: object) -> None:
    assert ask(Guard(OK, 1000, ""), body)[0] == 200


def test_requirements_and_readme_name_the_same_systems() -> None:
    """onnxruntime has one wheel for each system; Windows cannot bound a process that reads a slide."""
    root = Path(__file__).resolve().parents[2]
    assert "win32" not in (root / "requirements.txt").read_text()
    assert "Windows is not supported" in (root / "README.md").read_text()
