"""Several encoders on one reading of the slides: their codes side by side, and each encoder's own codes again.

Half of the time of a compression is reading. Encoders that are compared take the same tiles, so the slides are read
once for all of them.
"""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compress_cohort import DEFAULTS, CompressionReport, compress_cohort, tile_readers
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.encoder.spec import Encoder, EncoderSpec, at_once_of, batch_tiles_of, runtime_of
from nic.errors import EncoderError
from nic.slides.slide import SlideSource

OBJECTIVE = "side-by-side"


class SideBySide:
    """Encoders of one field and one runtime as a single encoder. A code is the codes of all, one after the other."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        """Raises EncoderError where two take other tiles, or run otherwise."""
        self.encoders = tuple(encoders)
        if len({(field_of_tile(encoder.spec), runtime_of(encoder)) for encoder in encoders}) != 1:
            kinds = "; ".join(sorted({f"{field_of_tile(e.spec)} by {runtime_of(e)}" for e in encoders}))
            raise EncoderError(f"encoders side by side need equal tiles and one runtime; these take {kinds}")
        self.spec = spec_of([encoder.spec for encoder in encoders])
        self.runtime = runtime_of(self.encoders[0])
        self.batch_tiles = min(map(batch_tiles_of, self.encoders))
        self.at_once = min(map(at_once_of, self.encoders))

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] to codes float32 [N, sum of the encoders' D]."""
        return np.concatenate([encoder.encode(tiles) for encoder in self.encoders], axis=1)

    def parts(self, slide: CompressedSlide) -> Iterator[CompressedSlide]:
        """The compressed slide of each encoder, in order, as that encoder alone would have made it."""
        start = 0
        for encoder in self.encoders:
            of = np.s_[..., start : start + encoder.spec.code_size]
            start += encoder.spec.code_size
            variants = None if slide.variants is None else np.ascontiguousarray(slide.variants[of])
            codes = np.ascontiguousarray(slide.codes[of])
            yield replace(slide, codes=codes, variants=variants, encoder=encoder.spec)


def compress_side_by_side(
    sources: Sequence[SlideSource], encoders: Mapping[Path, Encoder], options: CompressionOptions = DEFAULTS
) -> dict[Path, CompressionReport]:
    """Compress every slide with every encoder. encoders: by the folder of their codes.

    Each folder is as `compress_cohort` leaves it, which has the last look at it: a file that is there is kept, one that
    is stale or missing is made. A run that was killed goes on. The codes of all encoders lie on the disk twice for a
    while, in a folder beside theirs. Raises what `compress_cohort` raises.
    """
    with tile_readers(options) as readers:
        for group in _to_read_together(sources, encoders):
            folder = next(iter(group)).parent / f"{OBJECTIVE}-{spec_of([e.spec for e in group.values()]).sha256[:8]}"
            together = SideBySide(list(group.values()))
            compress_cohort(sources, together, folder, options, readers=readers)
            for source in tqdm(sources, desc="codes of each encoder", unit="slide"):
                _part(together, folder / f"{source.slide_id}.h5", list(group))
            shutil.rmtree(folder)
        return {
            out: compress_cohort(sources, encoder, out, options, readers=readers) for out, encoder in encoders.items()
        }


def _to_read_together(
    sources: Sequence[SlideSource], encoders: Mapping[Path, Encoder]
) -> Iterator[dict[Path, Encoder]]:
    """Encoders of one field, two or more, whose folders lack slides."""
    by_field = defaultdict[object, dict[Path, Encoder]](dict)
    for out, encoder in encoders.items():
        if not all((out / f"{source.slide_id}.h5").is_file() for source in sources):
            by_field[field_of_tile(encoder.spec), runtime_of(encoder)][out] = encoder
    yield from (group for group in by_field.values() if len(group) > 1)


def _part(together: SideBySide, file: Path, folders: Sequence[Path]) -> None:
    """Write the codes of each encoder into its folder. A slide that was refused has no file here."""
    if file.is_file():
        slide = replace(CompressedSlide.load(file), variants=CompressedSlide.load_variants(file))
        for folder, part in zip(folders, together.parts(slide), strict=True):
            part.save(folder / file.name)


def field_of_tile(spec: EncoderSpec) -> tuple[int, float, float]:
    """What an encoder is shown: tile_px, tile_mpp, read_mpp. Encoders of one field can share a reading."""
    return spec.tile_px, spec.tile_mpp, spec.read_mpp


def spec_of(members: Sequence[EncoderSpec]) -> EncoderSpec:
    """The digest is that of the members' digests."""
    first, digests = members[0], [member.sha256 for member in members]
    return EncoderSpec(
        code_size=sum(member.code_size for member in members),
        tile_px=first.tile_px,
        tile_mpp=first.tile_mpp,
        read_mpp=first.read_mpp,
        objective=OBJECTIVE,
        tasks=tuple(member.objective for member in members),
        sha256=hashlib.sha256(" ".join(digests).encode()).hexdigest(),
    )
