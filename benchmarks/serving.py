"""The server under load: 16 clients, slides, codes, regions and bad rows at once; each answer against the batch's.

    python -m benchmarks.serving [--model models:/nic-proliferation@champion] [--slides data/phantom/slides/breast]

Wants a registered model and slides, as `make demo` leaves them. At the end a worker is killed while requests go on.
"""

import argparse
import base64
import io
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import requests
from PIL import Image
from tqdm import tqdm

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.loading import load_encoder
from nic.patients.predictor import PatientModel
from nic.slides.slide import Slide, SlideSource, find_slides
from nic.tracking.registry import graph_file, load_served

Row = dict[str, Any]
TOKEN, WORKERS, CLIENTS = "benchmark", 2, 16
REGION_PX, TOLERANCE = 768, 1e-5
PROJECT = Path(__file__).resolve().parents[1]


@dataclass
class Load:
    """What clients met. wrong: answers unlike the batch's. broken: connections that ended without an answer."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    broken: int = 0


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    url: str

    def workers(self) -> list[psutil.Process]:
        """Those that hold the port and answer; the rest are readers of slides and uvicorn's own."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def memory_mb(self) -> float:
        """Of all its processes."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return sum(process.memory_info().rss for process in family) / 2**20

    def ask(self, rows: Sequence[Row]) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.post(
            f"{self.url}/invocations", json={"dataframe_records": list(rows)}, headers=headers, timeout=300
        )


def started(model: str, roots: Sequence[Path], folder: Path) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "NIC_API_TOKEN": TOKEN,
        "NIC_SLIDE_ROOTS": os.pathsep.join(map(str, roots)),
        "NIC_CACHE_DIR": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "registry.server", model, "--port", str(port), "--workers", str(WORKERS)]
    log = (folder / "server.log").open("wb")
    server = Server(
        subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log), f"http://127.0.0.1:{port}"
    )
    while server.process.poll() is None:
        try:
            if requests.get(f"{server.url}/health", timeout=60).ok and len(server.workers()) == WORKERS:
                return server
        except requests.ConnectionError:
            time.sleep(0.5)
    raise RuntimeError((folder / "server.log").read_text()[-2000:])


def rows_to_ask(slides: Sequence[SlideSource], codes: Path) -> list[Row]:
    """One row for each kind of thing that clients send."""
    good = [{"slide": str(slide.path)} for slide in slides]
    compressed = [{"features": str(codes / f"{slide.slide_id}.h5")} for slide in slides]
    regions = [{"image": png, "mpp": mpp} for png, mpp in map(region, slides[:2])]
    bad: list[Row] = [
        {"slide": str(slides[0].path.with_name("none.tif"))},
        {"slide": "/etc/passwd"},
        {"slide": f"{slides[0].path.parent}/../../../../etc/passwd"},
        {"slide": "http://127.0.0.1/a.svs"},
        {"image": "A" * 1000, "mpp": 0.5},
        {"image": "A" * 1000},
        {"slide": str(slides[0].path), "features": str(codes)},
        {"slide": str(slides[0].path), "mpp": -1.0},
        {"features": str(slides[0].path)},
    ]
    rows = [*good, *compressed, *regions, *bad]
    return [{**row, "patient": f"p{number}"} for number, row in enumerate(rows)]


def region(source: SlideSource) -> tuple[str, float]:
    """A PNG of the slide's middle as base64, and its um/px."""
    with Slide.open(source) as slide:
        width, height = slide.size_l0px
        pixels = slide.read_region(width // 2 - REGION_PX // 2, height // 2 - REGION_PX // 2, 0, REGION_PX, REGION_PX)
        content = io.BytesIO()
        Image.fromarray(np.asarray(pixels)).save(content, "PNG")
        return base64.b64encode(content.getvalue()).decode(), slide.mpp


def drive(server: Server, rows: Sequence[Row], wanted: dict[str, Row], count: int, load: Load, seed: int) -> None:
    """`count` requests of one to three rows from CLIENTS clients."""
    lock, bar = threading.Lock(), tqdm(total=count, desc="requests", unit="request")

    def one(number: int) -> None:
        chosen = random.Random(seed + number).sample(list(rows), k=1 + number % 3)
        start = time.perf_counter()
        try:
            answer = server.ask(chosen)
        except requests.ConnectionError:
            with lock:
                load.broken += 1
            return
        taken = time.perf_counter() - start
        faults = unlike(answer, wanted) if answer.ok else []
        with lock:
            load.seconds.append(taken)
            load.statuses[answer.status_code] += 1
            load.wrong += faults
            bar.update()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(count)))
    bar.close()


def unlike(answer: requests.Response, wanted: dict[str, Row]) -> list[str]:
    """Answers that are not those of the batch, to TOLERANCE."""
    wrong = []
    for found in answer.json()["predictions"]:
        expected = wanted[found["patient"]]
        same = found["status"] == expected["status"] and found["tiles"] == expected["tiles"]
        if expected["prediction"] is not None:
            same &= abs(found["prediction"] - expected["prediction"]) <= TOLERANCE * max(1, abs(expected["prediction"]))
        if not same:
            wrong.append(
                f"{found['patient']}: {found['status']} {found['prediction']}, wanted {expected['prediction']}"
            )
    return wrong


def bare_seconds(model: PatientModel, slides: Sequence[CompressedSlide], runs: int) -> float:
    """The patient graph alone on codes in memory, as many times, on as many threads as there are workers."""
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda run: model.predict([slides[run % len(slides)]]), range(runs)))
    return time.perf_counter() - start


def told(load: Load, title: str) -> None:
    milliseconds = np.array(load.seconds) * 1e3
    p50, p99 = np.percentile(milliseconds, [50, 99])
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()))
    print(f"{title}: {answers}; {load.broken} connections broken, {len(load.wrong)} wrong answers {load.wrong[:3]}")
    print(f"  p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def measure(model: str, slides: Sequence[SlideSource], count: int, folder: Path) -> None:
    codes = folder / "codes"
    encoder = load_encoder(graph_file(model, "encoder"))
    made = [compress_slide(slide, encoder) for slide in slides]
    for slide in made:
        slide.save(codes / f"{slide.slide_id}.h5")
    rows = rows_to_ask(slides, codes)
    batch = load_served(model)
    confined = [row for row in rows if "passwd" not in str(row)]  # in one's own process nothing is confined
    wanted = {row["patient"]: row for part in confined for row in batch(pd.DataFrame([part])).to_dict("records")}
    refused = {"status": "refused", "prediction": None, "tiles": 0}
    wanted |= {row["patient"]: refused for row in rows if row not in confined}
    server = started(model, [slides[0].path.parent.resolve(), codes.resolve()], folder)
    try:
        drive(server, rows, wanted, 300, Load(), seed=10**6)  # slides into the cache, pools to their size
        before, load, start = server.memory_mb(), Load(), time.perf_counter()
        drive(server, rows, wanted, count, load, seed=0)
        taken, after = time.perf_counter() - start, server.memory_mb()
        told(load, f"{count} requests, {CLIENTS} clients, {WORKERS} workers")
        print(
            f"  {count / taken:.0f} requests/s; {before:.0f} MB after warm-up, {after:.0f} MB at the end, all processes"
        )
        asked = [1 + number % 3 for number in range(count)]
        answerable = round(sum(asked) * sum(wanted[r["patient"]]["status"] == "ok" for r in rows) / len(rows))
        bare = bare_seconds(PatientModel(graph_file(model, "patient"), threads=1), made, answerable)
        print(f"  {taken:.1f} s; the patient graph alone, as many answers: {bare:.1f} s; ratio {taken / bare:.1f}")
        killed = Load()
        threading.Timer(2.0, lambda: server.workers()[0].send_signal(signal.SIGKILL)).start()
        drive(server, rows, wanted, count // 4, killed, seed=2 * 10**6)
        told(killed, f"{count // 4} requests, a worker killed in the middle")
        again = Load()
        drive(server, rows, wanted, 200, again, seed=3 * 10**6)
        told(again, "200 requests after that")
    finally:
        server.process.terminate()
        server.process.wait(60)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="models:/nic-proliferation@champion")
    arguments.add_argument("--slides", default="data/phantom/slides/breast", help="folder; its first six are taken")
    arguments.add_argument("--requests", type=int, default=2000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given.model, find_slides(given.slides)[:6], given.requests, Path(folder))


if __name__ == "__main__":
    main()
