"""How near encoding comes to what the cores can multiply: the ONNX graph, torch eager, and plain gemm, in one run.

    python -m benchmarks.encoding [encoder.onnx] [--threads 2]

Without a graph an untrained encoder of the published architecture is exported.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import seconds
from nic.encoder.export import export_encoder
from nic.encoder.network import TileEncoder, scaled
from nic.encoder.onnx import OnnxEncoder

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
    encoder, network = OnnxEncoder(path, threads), TileEncoder().eval()
    tiles = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), np.uint8)
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)

    def onnx() -> None:
        for _ in range(BATCHES):
            encoder.encode(tiles)

    def eager() -> None:
        with torch.no_grad():
            for _ in range(BATCHES):
                network(scaled(torch.from_numpy(tiles)))

    def gemm() -> None:
        for _ in range(BATCHES // 2):
            torch.mm(left, right)

    taken = seconds(onnx, eager, gemm, repeats=9)
    count, flop = BATCH * BATCHES, 2 * SIDE**3 * (BATCHES // 2)
    rates = count / taken[:, 0], count / taken[:, 1], flop / taken[:, 2]
    onnx_s, eager_s, gemm_s = (float(np.median(rate)) for rate in rates)
    print(f"{threads} threads, {', '.join(encoder.providers)}")
    print(f"  ONNX Runtime f32  {onnx_s:8.0f} tiles/s")
    print(f"  torch eager f32   {eager_s:8.0f} tiles/s")
    print(f"  gemm f32          {gemm_s / 1e9:8.0f} GFLOP/s = {gemm_s / FLOP_A_TILE:.0f} tiles/s")
    shares = np.median(rates[0] * FLOP_A_TILE / rates[2]), np.median(rates[0] / rates[1])
    print(f"ONNX / gemm {shares[0]:.2f}, ONNX / torch eager {shares[1]:.1f}")


if __name__ == "__main__":
    main()
