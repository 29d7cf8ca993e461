"""Damaged slides through what a server does with them: open, mask, tiles. Nothing may take the server down.

    python -m benchmarks.fuzz [--files 10000] [--seconds 10] [--minutes 60]

TIFF and SVS, of JPEG and deflate, are spoilt by flipped bits, cuts, foreign tag values and huge dimensions. Prints how
many ended how, as one JSON object; what is no answer and no refusal by name ends it with exit code 1.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from nic.compression.tiling import Tiling
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder
from nic.errors import NicError
from nic.serving.limits import Budget, Limits
from nic.serving.row_reader import RowReader
from nic.slides.slide import SlideSource

APERIO = "Aperio Image Library v10.0.51\r\n512x512 [0,0 512x512] (128x128) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
HUGE = (0, 1, 2**16 - 1, 2**20, 2**31 - 1, 2**32 - 1)
LARGEST_PX = 40_000_000_000


def picture(side_px: int = 512) -> NDArray[np.uint8]:
    """Grainy pink on glass: tissue by every test."""
    rng = np.random.default_rng(0)
    pixels = np.full((side_px, side_px, 3), 242.0)
    inner = pixels[64:-64, 64:-64]
    grain = cv2.GaussianBlur(rng.normal(0, 30, inner.shape[:2]).astype(np.float32), (0, 0), 1.0)
    inner[:] = np.array([190, 100, 170]) + grain[..., None]
    return pixels.round().clip(0, 255).astype(np.uint8)


def whole_files(folder: Path) -> list[Path]:
    """A generic TIFF and an Aperio SVS, by JPEG and by deflate."""
    paths = []
    for suffix, words in ((".tif", None), (".svs", APERIO)):
        for compression in ("jpeg", "zlib"):
            path = folder / f"{compression}{suffix}"
            with tifffile.TiffWriter(path) as file:
                for step in (1, 2, 4):
                    file.write(
                        np.ascontiguousarray(picture()[::step, ::step]),
                        tile=(128, 128),
                        photometric="rgb",
                        compression=compression,
                        description=words,
                        resolution=(20000, 20000),
                        resolutionunit="CENTIMETER",
                        subfiletype=int(step > 1),
                        metadata=None,
                    )
            paths.append(path)
    return paths


def spoilt(content: bytes, entries: list[int], rng: random.Random) -> tuple[str, bytes]:
    """One of four ways to spoil a file, by name. entries: where the entries of its tags begin."""
    data, way = bytearray(content), rng.choice(("bits", "cut", "tag", "dimension"))
    if way == "bits":
        # Headers are small beside pixels, and it is in them that a bit does most.
        near = rng.choice((0, rng.choice(entries)))
        for _ in range(rng.choice((1, 4, 32))):
            at = min(len(data) - 1, near + rng.randrange(256)) if rng.random() < 0.6 else rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[rng.randrange(len(data)) :]
    elif way == "tag":
        at = rng.choice(entries) + rng.choice((0, 2, 4, 8))
        data[at : at + 4] = rng.choice((*HUGE, rng.randrange(2**32))).to_bytes(4, "little")
    else:
        sizes = [at for at in entries if int.from_bytes(data[at : at + 2], "little") in (256, 257, 322, 323)]
        for at in rng.sample(sizes, rng.choice((1, 2))):
            data[at + 2 : at + 12] = b"\4\0\1\0\0\0" + rng.choice(HUGE).to_bytes(4, "little")
    return way, bytes(data)


def entries_of(path: Path) -> list[int]:
    with tifffile.TiffFile(path) as file:
        return [tag.offset for page in file.pages for tag in page.aspage().tags]


def outcome(reader: RowReader, path: Path, seconds: float) -> str:
    """What becomes of a file, as a server would do it."""
    deadline_s = time.monotonic() + seconds
    source = SlideSource("slide", path)
    try:
        if reader.header(source, (path.parent,), deadline_s).px > LARGEST_PX:
            return "OverLimit"
        reader.compress(source, (path.parent,), Budget(10_000, deadline_s), path.with_suffix(".h5"))
        path.with_suffix(".h5").unlink()
    except NicError as error:
        died = "crashed the process" in str(error)
        return f"died: {str(error).split('(')[1].split(')')[0]}" if died else type(error).__name__
    return "answered"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=60.0, help="no file is begun after that")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        torch.manual_seed(0)
        export_encoder(TileEncoder(), "random", [], folder / "encoder.onnx", np.zeros((2, 64, 64, 3), np.uint8))
        reader = RowReader.within(
            Limits((folder,), at_once=2, reader_mb=4096), load_encoder(folder / "encoder.onnx"), Tiling()
        )
        whole = [(path.suffix, path.read_bytes(), entries_of(path)) for path in whole_files(folder)]
        rng = random.Random(arguments.seed)
        counts: Counter[str] = Counter()
        slowest, begun = 0.0, time.monotonic()

        def one(seed: int) -> tuple[str, str, float] | None:
            if time.monotonic() > begun + 60 * arguments.minutes:
                return None
            draw = random.Random(seed)
            suffix, content, entries = draw.choice(whole)
            way, data = spoilt(content, entries, draw)
            path = folder / f"{seed}{suffix}"
            path.write_bytes(data)
            start = time.monotonic()
            result = outcome(reader, path, arguments.seconds)
            path.unlink()
            return way, result, time.monotonic() - start

        with ThreadPoolExecutor(2) as threads:
            drawn = (rng.getrandbits(48) for _ in range(arguments.files))
            for way, result, took in filter(None, threads.map(one, drawn)):
                counts[f"{way}: {result}"] += 1
                slowest = max(slowest, took)
    outcomes = dict(sorted(counts.items()))
    print(json.dumps({"files": counts.total(), "slowest_s": slowest, "in_all_s": time.monotonic() - begun, **outcomes}))
    sys.exit(any("exit code" in result for result in outcomes))


if __name__ == "__main__":
    main()
