"""Digests of slides, by what can be known without reading them whole, wherever they lie."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nic.errors import UnreachedSlide
from nic.slides.search import file_of
from nic.slides.source import SlideSource
from nic.slides.staging import version_of
from nic.tracking.digests import ASKED_AT_ONCE, digest, folder_digest, output_digest

EDGE_BYTES = 1 << 13
"""What is read of either end of a slide: its directories and some of its tiles."""


def slides_digest(sources: Sequence[SlideSource]) -> str:
    """Digest of slides, by what can be known without reading them whole, wherever they lie."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        contents = pool.map(slide_content, sources)
        return digest(
            {source.slide_id: [source.mpp, content] for source, content in zip(sources, contents, strict=True)}
        )


def slide_content(source: SlideSource) -> str:
    """Of one that cannot be reached the reason: it is noted as unreached when its turn comes."""
    try:
        return version_of(source) or _ends(file_of(source))
    except (UnreachedSlide, OSError) as error:
        return f"{type(error).__name__}: {error}"


def _ends(slide: Path) -> str:
    """Size and both ends of a slide's file; of a folder's files their names and sizes, as of those beside a .mrxs."""
    if not slide.is_file():
        return output_digest(slide)
    size, beside = slide.stat().st_size, slide.with_suffix("")
    with slide.open("rb") as file:
        ends = hashlib.sha256(file.read(EDGE_BYTES))
        file.seek(max(0, size - EDGE_BYTES))
        ends.update(file.read(EDGE_BYTES))
    return digest({"bytes": size, "ends": ends.hexdigest(), "beside": folder_digest(beside)})
