"""One slide of a cohort: claimed, and compressed, kept, refused or not reached. What an engine does on each core."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nic.compression.codes_folder import CodesFolder
from nic.compression.compress import AS_USUAL, MOST_FAILED, compress_slide
from nic.compression.records import Quarantined, Unreached
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder
from nic.errors import CodesError, SlideError, UnreachedSlide, UnwritableFolder
from nic.slides.slide import SlideSource, check_reach
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
    """What came of a slide. reader: how pixels were read. reused: its file was there.

    left_out: why it has no new codes, refused or unreached; a file that was there before stays.
    """

    slide: str
    reader: str = ""
    reused: bool = False
    left_out: Quarantined | Unreached | None = None


def take(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, *, wait: bool) -> Outcome | None:
    """Claim a slide and compress it unless its file is there; None when another run holds it.

    wait: until that run lets go of it. A bad slide goes into quarantine; one that cannot be had is noted as unreached.
    Raises UnwritableFolder, and EncoderError of an encoder that cannot do it.
    """
    with folder.claim(source.slide_id, wait=wait) as ours:
        return _taken(folder, source, encoder, how) if ours else None


def _taken(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How) -> Outcome:
    try:
        outcome = _compressed_or_kept(folder, source, encoder, how)
    except UnwritableFolder:
        raise
    except (SlideError, CodesError, OSError, MemoryError) as error:
        return Outcome(source.slide_id, left_out=folder.leave_out(source.slide_id, or_away(source, error)))
    folder.release(source.slide_id)
    return outcome


def _compressed_or_kept(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How) -> Outcome:
    """An older file stays until the new one is whole, and is replaced only when it is of another slide or setting."""
    version = version_of(source)
    if version and folder.holds_version(source, version, encoder.spec, how.setting):
        return Outcome(source.slide_id, reused=True)
    with how.staging.local(source) as local:
        reused = folder.holds(local, encoder.spec, how.setting)
        reader = "" if reused else _compress(folder, local, encoder, how)
    if version:
        folder.note_version(source, version)
    return Outcome(source.slide_id, reader, reused)


def _compress(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How) -> str:
    """How the pixels were read."""
    most_failed = 1.0 if source.slide_id in how.accept else MOST_FAILED
    compressed = compress_slide(source, encoder, how.setting, most_failed=most_failed, threads=how.threads)
    folder.save(compressed)
    return compressed.reader


def or_away(source: SlideSource, error: Exception) -> Exception:
    """The error of a slide; or that its file is away by now, which makes a whole slide look damaged."""
    if source.uri or not isinstance(error, OSError):
        return error
    try:
        check_reach(source.path)
    except UnreachedSlide as away:
        return away
    return error
