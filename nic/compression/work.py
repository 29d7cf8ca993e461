"""One slide of a cohort: claimed, compressed, kept or refused. What an engine does on each core."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.compression.compress import AS_USUAL, MOST_FAILED, compress_slide
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder
from nic.errors import CodesError, SlideError
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, version_of

STAGING = Staging(Path("work/staged"), 200 << 30)


@dataclass(frozen=True)
class How:
    """How a cohort is compressed.

    accept: ids of slides whose undecodable tiles do not matter. staging: where slides that lie elsewhere are brought.
    threads: of each slide; the engine knows how many.
    """

    setting: Setting = AS_USUAL
    accept: Collection[str] = ()
    staging: Staging = STAGING
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a slide. reader: how pixels were read. reused: its file was there. refusal: why there is none."""

    slide: str
    reader: str = ""
    reused: bool = False
    refusal: Quarantined | None = None


def take(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, *, wait: bool) -> Outcome | None:
    """Claim a slide and compress it unless its file is there; None when another run holds it.

    wait: until that run lets go of it. A bad slide goes into quarantine.
    """
    with folder.claim(source.slide_id, wait=wait) as ours:
        return _taken(folder, source, encoder, how) if ours else None


def _taken(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How) -> Outcome:
    slide_id, reader = source.slide_id, ""
    try:
        version = version_of(source)
        reused = bool(version) and folder.holds_version(source, version, encoder.spec, how.setting)
        if not reused:
            with how.staging.local(source) as local:
                reused = folder.holds(local, encoder.spec, how.setting)
                if not reused:
                    folder.clear(slide_id)
                    reader = _compress(folder, local, encoder, how)
            if version:
                folder.note_version(source, version)
    except (SlideError, CodesError) as error:
        refusal = Quarantined.because(slide_id, error)
        folder.quarantine(refusal)
        return Outcome(slide_id, refusal=refusal)
    folder.release(slide_id)
    return Outcome(slide_id, reader, reused)


def _compress(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How) -> str:
    """How the pixels were read."""
    most_failed = 1.0 if source.slide_id in how.accept else MOST_FAILED
    compressed = compress_slide(source, encoder, how.setting, most_failed=most_failed, threads=how.threads)
    compressed.save(folder.file(source.slide_id))
    return compressed.reader
