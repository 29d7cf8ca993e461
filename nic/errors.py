"""Everything nic refuses, by name.

    NicError
    ├── SlideError            a slide cannot be used
    │   ├── UnreadableSlide       empty, truncated, damaged, or not an image (OSError)
    │   │   └── UnsupportedSlide      whole, but of a kind that nic does not read
    │   ├── MissingResolution     no um/px in the file and none given (ValueError)
    │   ├── ImplausibleResolution um/px outside what microscopes make (ValueError)
    │   ├── ResolutionTooLow      the finest level is coarser than the encoder reads (ValueError)
    │   ├── MaskError             a given mask of tissue is missing or does not fit (ValueError)
    │   ├── NoTissue              nothing but glass (ValueError)
    │   ├── OutOfFocus            all tissue is blurred (ValueError)
    │   ├── TooManyFailedCells    too much of the slide cannot be decoded (OSError)
    │   ├── CrashingSlide         each process that compressed it died of it (OSError)
    │   └── UnreachedSlide        its file cannot be had now; nothing is known of the slide (OSError)
    │       └── NotStaged             a remote slide cannot be brought here
    ├── TableError            a table cannot be read (ValueError); said as CohortError or TaskError
    │   ├── EmptyTable            no such file, or no rows in it
    │   └── NoColumn              a wanted column is not in its header
    ├── UnreachedSlides       many slides of a cohort, or some in the end, cannot be had now (OSError)
    ├── UnwritableFolder      what was made cannot be written: no space, no permission (OSError)
    ├── UnknownTest           a test of tiles that there is not (ValueError)
    ├── TaskError             labelled tiles cannot be used (ValueError)
    │   └── UnreadableTile        one tile cannot be decoded (OSError)
    ├── EncoderError          an encoder cannot be built, read or trusted (ValueError)
    │   ├── ParityFailed          the ONNX graph does not compute what was trained
    │   ├── NoDevice              the device that was asked for cannot be had
    │   └── OutOfMemory           a device has no room for a batch (MemoryError)
    ├── CodesError            a compressed slide cannot be used (ValueError)
    │   ├── UnreachedCodes        a file of codes or features cannot be read now; nothing is known of it (OSError)
    │   ├── ForeignCodes          made by another encoder than the one wanted
    │   └── InterchangeError      another tool's features cannot be taken in, or ours not be handed over
    ├── CohortError           the table of patients is wrong (ValueError)
    │   ├── EmptyCohort           no rows, or none in the part asked for
    │   ├── UnknownColumn         a named column is not in the table (also KeyError)
    │   ├── ConflictingLabels     one patient, two labels
    │   ├── PatientInTwoParts     one patient in two splits
    │   └── LeakFound             a patient, slide or picture stands on both sides of a split
    ├── EndpointError         the labels cannot teach the endpoint (ValueError)
    │   ├── OneClass              a classification with a single class
    │   └── NoEvents              a survival endpoint without events
    ├── MissingExtra          something was asked for that wants a package which is not installed (ImportError)
    ├── StudyError            the study file is wrong (ValueError)
    ├── StageFailed           a child run of a study failed; its own message stands above (RuntimeError)
    ├── RequestRefused        a served model cannot answer as it was asked (ValueError)
    │   ├── OutsideRoots          a path that is not served (PermissionError)
    │   └── OverLimit             larger or slower than the server allows
    ├── SettingError          a variable of a server's environment says what cannot be (ValueError)
    ├── SmokeFailed           a served model does not answer as it did when it was registered (RuntimeError)
    ├── StoreUnreached        the tracking store, or what it keeps files in, cannot be had (ConnectionError)
    └── RegistryError         the registry cannot do what was asked
        ├── UnknownModel          no such name, version or alias (LookupError)
        └── Overtaken             another promotion came first

Each message names the object, what was found, what was wanted and, where there is one, the remedy. Every class also
derives from the builtin a caller would expect, so that `except ValueError` works for those who do not know nic.
"""


class NicError(Exception):
    """Root of all that nic refuses."""


class SlideError(NicError):
    """A slide cannot be used."""

    release = "look at the slide"


class UnreadableSlide(SlideError, OSError):
    """The file is empty, truncated, damaged, or not an image."""

    release = "copy the file, with all that belongs to it, from its source again"


class UnsupportedSlide(UnreadableSlide):
    """The file is whole, but of a kind that nic does not read: strips, a codec, floats, a picture, fluorescence."""

    release = (
        "convert it to tiles of 8-bit RGB in JPEG, by `vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg` "
        "or by Bio-Formats' bfconvert"
    )


class MissingResolution(SlideError, ValueError):
    """The file states no um/px and none was given."""

    release = "give its um/px as mpp, in the cohort's table"


class ImplausibleResolution(SlideError, ValueError):
    """The um/px lies outside what microscopes make."""

    release = "give its true um/px as mpp, in the cohort's table"


class ResolutionTooLow(SlideError, ValueError):
    """The finest level is coarser than the encoder reads."""

    release = "give the true mpp if it is another; else scan it finer, or take an encoder that reads coarser tiles"


class NoTissue(SlideError, ValueError):
    """Nothing but glass was found."""

    release = "look at its picture; lower min_tissue if there is tissue"


class OutOfFocus(SlideError, ValueError):
    """All tissue is blurred."""

    release = "scan it again; take `blurred` out of exclude if it is in focus"


class TooManyFailedCells(SlideError, OSError):
    """More of the slide is undecodable than the stated fraction."""

    release = "copy the file again, or name it in accept to keep the tiles that can be read"


class MaskError(SlideError, ValueError):
    """A given mask of tissue is missing, cannot be read, or does not fit the slide; or the rule is unknown."""

    release = "put a mask of the whole slide into the folder, under the slide's name, or choose another tissue="


class CrashingSlide(SlideError, OSError):
    """Each process that compressed the slide died of it."""

    release = "run again; if it dies again, copy the file from its source again"


class UnreachedSlide(SlideError, OSError):
    """The slide's file cannot be had now: a share is away, permission is missing, a disk is full.

    Nothing is known of the slide itself, so that nothing that was made of it may be removed.
    """

    release = "see that this machine can read the file, and run again"


class NotStaged(UnreachedSlide):
    """A slide that lies elsewhere cannot be brought here."""

    release = "see that the address is right and that this machine may read it, and run again"


class UnreachedSlides(NicError, OSError):
    """Slides of a cohort cannot be had now. What was made of them before stays, and so does what is compressed."""


class UnwritableFolder(NicError, OSError):
    """A folder of results cannot be written: it is full, read-only, or another user's. What is in it stays."""


class UnknownTest(NicError, ValueError):
    """A test of tiles that there is not."""


class TableError(NicError, ValueError):
    """A table cannot be read."""


class EmptyTable(TableError):
    """No such file, or no rows in it."""


class NoColumn(TableError):
    """A wanted column is not in the table's header."""


class TaskError(NicError, ValueError):
    """Labelled tiles cannot be used."""


class UnreadableTile(TaskError, OSError):
    """One tile cannot be decoded."""


class EncoderError(NicError, ValueError):
    """An encoder cannot be built, read or trusted."""


class ParityFailed(EncoderError):
    """The ONNX graph does not compute what was trained."""


class NoDevice(EncoderError):
    """The device that was asked for cannot be had: no driver, no such device, or a library that cannot be loaded."""


class OutOfMemory(EncoderError, MemoryError):
    """A device has no room for a batch of this size."""


class CodesError(NicError, ValueError):
    """A compressed slide cannot be used."""

    release = "compress the slide again"


class UnreachedCodes(CodesError, OSError):
    """A file of codes or features cannot be read now: no permission, a share that is away. Nothing is known of it."""

    release = "see that this machine can read the file, and run again"


class ForeignCodes(CodesError):
    """The codes were made by another encoder than the one wanted."""


class InterchangeError(CodesError):
    """Another tool's features cannot be taken in, or ours not be handed over."""

    release = "mend or give what the evidence asks for, and import again"


class CohortError(NicError, ValueError):
    """The table of patients is wrong."""


class EmptyCohort(CohortError):
    """No rows, or none in the part asked for."""


class UnknownColumn(CohortError, KeyError):
    """A named column is not in the table."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class ConflictingLabels(CohortError):
    """One patient carries two labels."""


class PatientInTwoParts(CohortError):
    """One patient stands in two splits."""


class LeakFound(CohortError):
    """A patient, slide or picture stands on both sides of a split, or taught the encoder."""


class EndpointError(NicError, ValueError):
    """The labels cannot teach the endpoint."""


class OneClass(EndpointError):
    """A classification with a single class."""


class NoEvents(EndpointError):
    """A survival endpoint without events."""


class MissingExtra(NicError, ImportError):
    """Something was asked for that wants a package which is not installed."""


class StudyError(NicError, ValueError):
    """The study file is wrong."""


class StageFailed(NicError, RuntimeError):
    """A child run of a study failed."""


class RequestRefused(NicError, ValueError):
    """A served model cannot answer as it was asked."""


class OutsideRoots(RequestRefused, PermissionError):
    """A path that is not served."""


class OverLimit(RequestRefused):
    """Larger or slower than the server allows."""


class SettingError(NicError, ValueError):
    """A variable of a server's environment says what cannot be."""


class SmokeFailed(NicError, RuntimeError):
    """A served model does not answer as it did when it was registered."""


class StoreUnreached(NicError, ConnectionError):
    """The tracking store, or the store of its artifacts, is down, refuses, or is no such store."""


class RegistryError(NicError):
    """The registry cannot do what was asked."""


class UnknownModel(RegistryError, LookupError):
    """No such registered name, version or alias."""


class Overtaken(RegistryError):
    """Another promotion or rollback came first."""
