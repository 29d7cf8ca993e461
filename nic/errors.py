"""Everything nic refuses, by name. Each message says what is there, what is wanted and, after a semicolon, what to do.

    NicError
        SlideError          UnreadableSlide (UnsupportedSlide), MissingResolution, ImplausibleResolution,
                            ResolutionTooLow, MaskError, NoTissue, OutOfFocus, TooManyFailedCells, CrashingSlide,
                            UnreachedSlide (NotStaged)
        CodesError          UnreachedCodes, ForeignCodes, InterchangeError
        EncoderError        ParityFailed, NoDevice, OutOfMemory
        TaskError           UnreadableTile
        TableError          EmptyTable, NoColumn
        CohortError         EmptyCohort, UnknownColumn, ConflictingLabels, PatientInTwoParts, LeakFound
        EndpointError       OneClass, NoEvents
        RequestRefused      OutsideRoots, OverLimit
        RegistryError       UnknownModel, NoGate, Overtaken
        UnreachedSlides, UnwritableFolder, UnknownQCTest, MissingExtra, StudyError, StageFailed, SettingError,
        SmokeFailed, StoreUnreached, TrainingEnded

Every class also derives from the builtin that a caller would expect, so that `except ValueError` works for those who
do not know nic. `remedy` of a slide's error is what to do where the message itself does not say it. An error of several
faults holds one sentence for each, in `args`.
"""

from collections.abc import Sequence

MOST_SENTENCES = 12
"""Faults of one kind that are listed; the others are counted."""


class NicError(Exception):
    """Root of all that nic refuses."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


def raise_all(errors: Sequence[NicError]) -> None:
    """Raise one error with the sentences of all, of the class of the first; nothing where there are none."""
    sentences = list(dict.fromkeys(str(sentence) for error in errors for sentence in error.args))
    if beyond := sentences[MOST_SENTENCES:]:
        sentences = [*sentences[:MOST_SENTENCES], f"{len(beyond)} more faults of this kind; correct these first"]
    if errors:
        raise type(errors[0])(*sentences)


class SlideError(NicError):
    """A slide cannot be used."""

    remedy = "look at the slide"


class UnreadableSlide(SlideError, OSError):
    """The file is empty, truncated, damaged, or not an image."""

    remedy = "copy the file, with all that belongs to it, from its source again"


class UnsupportedSlide(UnreadableSlide):
    """The file is whole, but of a kind that nic does not read: strips, a codec, floats, a picture, fluorescence."""

    remedy = (
        "convert it to tiles of 8-bit RGB in JPEG, by `vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg` "
        "or by Bio-Formats' bfconvert"
    )


class MissingResolution(SlideError, ValueError):
    """The file states no um/px, and neither does the cohort's table."""

    remedy = "give its um/px as mpp, in the cohort's table"


class ImplausibleResolution(SlideError, ValueError):
    """The um/px is outside the range of microscopes."""

    remedy = "give its true um/px as mpp, in the cohort's table"


class ResolutionTooLow(SlideError, ValueError):
    """The finest level of the slide is coarser than the encoder reads."""

    remedy = "give the true mpp if this one is wrong; else scan it finer, or take an encoder that reads coarser tiles"


class NoTissue(SlideError, ValueError):
    """The slide shows nothing but glass."""

    remedy = "look at its picture; lower min_tissue if there is tissue"


class OutOfFocus(SlideError, ValueError):
    """All tissue is blurred."""

    remedy = "scan it again; take `blurred` out of exclude if it is in focus"


class TooManyFailedCells(SlideError, OSError):
    """More tiles than allowed cannot be decoded."""

    remedy = "copy the file again, or name the slide in accept to keep the tiles that can be read"


class MaskError(SlideError, ValueError):
    """A tissue mask is missing, cannot be read, or does not fit the slide; or the tissue rule is unknown."""

    remedy = "put a mask of the whole slide into the folder, under the slide's name, or choose another tissue="


class CrashingSlide(SlideError, OSError):
    """Each process that read the slide crashed."""

    remedy = "run again; if it crashes again, copy the file from its source again"


class UnreachedSlide(SlideError, OSError):
    """The slide's file cannot be read now: a share is away, permission is missing, a disk is full.

    The slide itself may be fine, so nothing that was made of it may be removed.
    """

    remedy = "make sure that this machine can read the file, and run again"


class NotStaged(UnreachedSlide):
    """A remote slide cannot be brought to this machine."""

    remedy = "make sure that the address is right and that this machine may read it, and run again"


class UnreachedSlides(NicError, OSError):
    """Slides of a cohort cannot be reached now. Their finished codes stay, and so do those of the other slides."""


class UnwritableFolder(NicError, OSError):
    """A folder of results cannot be written: it is full, read-only, or another user's. Its files stay."""


class UnknownQCTest(NicError, ValueError):
    """A QC test of this name does not exist."""


class TableError(NicError, ValueError):
    """A table cannot be read; cohorts and tile tasks raise it as CohortError and TaskError."""


class EmptyTable(TableError):
    """The file does not exist, or has no rows."""


class NoColumn(TableError):
    """The table's header lacks a column."""


class TaskError(NicError, ValueError):
    """Labelled tiles cannot be used."""


class UnreadableTile(TaskError, OSError):
    """One tile cannot be decoded."""


class EncoderError(NicError, ValueError):
    """An encoder cannot be built, read or trusted."""


class ParityFailed(EncoderError):
    """The ONNX graph does not compute what the trained network computes."""


class NoDevice(EncoderError):
    """The named device is not available: no driver, no such device, or a library that cannot be loaded."""


class OutOfMemory(EncoderError, MemoryError):
    """A batch of this size does not fit the device's memory."""


class CodesError(NicError, ValueError):
    """A compressed slide cannot be used."""

    remedy = "compress the slide again"


class UnreachedCodes(CodesError, OSError):
    """A file of codes or features cannot be read now: no permission, a share that is away. It may be fine."""

    remedy = "make sure that this machine can read the file, and run again"


class ForeignCodes(CodesError):
    """Another encoder made the codes."""


class InterchangeError(CodesError):
    """Another tool's features cannot be imported, or codes cannot be exported to its layout."""

    remedy = "correct or add what the evidence names, and import again"


class CohortError(NicError, ValueError):
    """The table of patients is wrong."""


class EmptyCohort(CohortError):
    """The cohort, or the named part of it, has no rows."""


class UnknownColumn(CohortError, KeyError):
    """The table lacks a named column."""


class ConflictingLabels(CohortError):
    """One patient has two labels."""


class PatientInTwoParts(CohortError):
    """One patient is in two parts of a split."""


class LeakFound(CohortError):
    """A patient, slide or picture is on both sides of a split, or was used to train the encoder."""


class EndpointError(NicError, ValueError):
    """No model of the endpoint can be trained or measured on these labels."""


class OneClass(EndpointError):
    """All labels of a classification are of one class."""


class NoEvents(EndpointError):
    """No patient of a survival endpoint has an event."""


class MissingExtra(NicError, ImportError):
    """An optional package is needed and not installed."""


class StudyError(NicError, ValueError):
    """The study file is wrong."""


class TrainingEnded(NicError, MemoryError):
    """The system ended a process that trained a network."""


class StageFailed(NicError, RuntimeError):
    """A child run of a study failed; its own message is printed above."""


class RequestRefused(NicError, ValueError):
    """A served model cannot answer this request."""


class OutsideRoots(RequestRefused, PermissionError):
    """The path is outside the folders that the server may read."""


class OverLimit(RequestRefused):
    """The request is larger or slower than the server allows."""


class SettingError(NicError, ValueError):
    """An environment variable of a server has a value that it cannot have."""


class SmokeFailed(NicError, RuntimeError):
    """A served model does not give the answers that it gave at registration."""


class StoreUnreached(NicError, ConnectionError):
    """The tracking store, or the store of its artifacts, is down, refuses, or is no such store."""


class RegistryError(NicError):
    """The registry cannot do this."""


class UnknownModel(RegistryError, LookupError):
    """The registry has no such name, version or alias."""


class NoGate(RegistryError, LookupError):
    """A registered name has no gate, so that none of its versions can be promoted."""


class Overtaken(RegistryError):
    """Another promotion or rollback came first."""
