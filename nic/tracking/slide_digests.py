"""Digests of slides that need not be read whole, on disk or in a bucket.

A module of its own: a digest of source follows imports, and only stages that read slides should depend on nic.slides.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nic.errors import UnreachedSlide
from nic.slides.search import file_of
from nic.slides.source import SlideSource
from nic.slides.staging import version_of
from nic.tracking.digests import FILES_AT_ONCE, digest, folder_digest, output_digest

EDGE_BYTES = 1 << 13
"""Bytes read at either end of a slide: its directories and some of its tiles."""


def slides_digest(sources: Sequence[SlideSource]) -> str:
    """Digest of slides: id, um/px and `slide_content` of each."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        contents = pool.map(slide_content, sources)
        return digest(
            {source.slide_id: [source.mpp, content] for source, content in zip(sources, contents, strict=True)}
        )


def slide_content(source: SlideSource) -> str:
    """Digest of one slide, or the reason why it cannot be reached; such a slide is recorded as unreached later."""
    try:
        return version_of(source) or _ends(file_of(source))
    except (UnreachedSlide, OSError) as error:
        return f"{type(error).__name__}: {error}"


def _ends(slide: Path) -> str:
    """Digest of a slide file's size and both ends. Of a folder, and of files beside a .mrxs: their names and sizes."""
    if not slide.is_file():
        return output_digest(slide)
    size, beside = slide.stat().st_size, slide.with_suffix("")
    with slide.open("rb") as file:
        ends = hashlib.sha256(file.read(EDGE_BYTES))
        file.seek(max(0, size - EDGE_BYTES))
        ends.update(file.read(EDGE_BYTES))
    return digest({"bytes": size, "ends": ends.hexdigest(), "beside": folder_digest(beside)})
