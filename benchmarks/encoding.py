"""How near encoding comes to what the cores can multiply: the ONNX graph, OpenVINO, torch eager, and plain gemm.

    python -m benchmarks.encoding [encoder.onnx] [--threads 2]

Without a graph an untrained encoder of the published architecture is exported.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import seconds
from nic.encoder.export import export_encoder
from nic.encoder.network import TileEncoder, scaled
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.openvino import OpenVinoEncoder

FLOP_A_TILE = 90.4e6
"""Of the published architecture at 64 px: two for each multiply-add."""
SIDE, BATCH, BATCHES = 2048, 64, 8


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("encoder", type=Path, nargs="?", help="an .onnx file of 64 px tiles")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare(given.encoder or exported(Path(folder)), given.threads)


def exported(folder: Path) -> Path:
    path = folder / "encoder.onnx"
    export_encoder(TileEncoder(), "random", [], path, np.zeros((4, 64, 64, 3), np.uint8))
    return path


def compare(path: Path, threads: int) -> None:
    encoder, fast, network = OnnxEncoder(path, threads), OpenVinoEncoder(path), TileEncoder().eval()
    tiles = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), np.uint8)
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)

    def onnx() -> None:
        for _ in range(BATCHES):
            encoder.encode(tiles)

    def openvino() -> None:
        with ThreadPoolExecutor(threads) as pool:  # a thread to each stream, as a slide goes to each core
            list(pool.map(fast.encode, [tiles] * BATCHES))

    def eager() -> None:
        with torch.no_grad():
            for _ in range(BATCHES):
                network(scaled(torch.from_numpy(tiles)))

    def gemm() -> None:
        for _ in range(BATCHES // 2):
            torch.mm(left, right)

    taken = seconds(onnx, eager, gemm, openvino, repeats=9)
    count, flop = BATCH * BATCHES, 2 * SIDE**3 * (BATCHES // 2)
    rates = count / taken[:, 0], count / taken[:, 1], flop / taken[:, 2], count / taken[:, 3]
    onnx_s, eager_s, gemm_s, openvino_s = (float(np.median(rate)) for rate in rates)
    print(f"{threads} threads, {', '.join(encoder.providers)}")
    print(f"  ONNX Runtime f32  {onnx_s:8.0f} tiles/s")
    print(f"  OpenVINO {fast.precision:9}{openvino_s:8.0f} tiles/s, least cosine to f32 {fast.agreement:.5f}")
    print(f"  torch eager f32   {eager_s:8.0f} tiles/s")
    print(f"  gemm f32          {gemm_s / 1e9:8.0f} GFLOP/s = {gemm_s / FLOP_A_TILE:.0f} tiles/s")
    to_gemm, to_eager = np.median(rates[0] * FLOP_A_TILE / rates[2]), np.median(rates[0] / rates[1])
    to_onnx = np.median(rates[3] / rates[0])
    print(f"ONNX / gemm {to_gemm:.2f}, ONNX / torch eager {to_eager:.1f}, OpenVINO / ONNX {to_onnx:.1f}")


if __name__ == "__main__":
    main()
