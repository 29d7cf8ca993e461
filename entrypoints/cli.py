"""The launcher: from a command line to an entry point's `run`, and from an error to one plain sentence."""

import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from decimal import Decimal, InvalidOperation
from importlib import import_module
from inspect import getdoc, getfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nic.child_process import interrupt_when_asked, interrupt_with_starter
from nic.errors import NicError, RequestRefused, StoreUnreached
from nic.system_errors import sentence_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")
PROJECT = Path(__file__).resolve().parents[1]

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""What a boolean may be written as, in upper or lower case."""

INTERRUPTED = 130
"""Exit code of a command that was stopped, as of a shell."""
WRITTEN = ("work", "out", "maps", "page")
"""Parameters of entry points that are paths to write to."""
READ = (
    *("study", "gates", "slides", "codes", "other_codes", "features", "patches", "answers", "source"),
    *("table", "clinical", "tile_tasks", "published"),
)
"""Those that are paths to read from."""

_rules = ConstructorRegistry()


@_rules.primitive_rule
def _boolean_rule(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[bool] | None:
    if type_info.type is not bool:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{true,false}",
        instance_from_str=lambda words: boolean(words[0]),
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    )


@_rules.primitive_rule
def _whole_number_rule(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if type_info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def whole_number(text: str) -> int:
    """Also of a text such as 5.0: MLflow has no type for whole numbers. Raises ValueError for another text."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number; write digits, such as 5 (5.0 is accepted, too)")
    return int(number)


def boolean(text: str) -> bool:
    """Raises ValueError for a word that is no boolean."""
    if text.strip().lower() not in BOOLEANS:
        raise ValueError(f"{text!r} is not a boolean; write one of {', '.join(BOOLEANS)}")
    return BOOLEANS[text.strip().lower()]


def parsed(config_type: type[C], words: Sequence[str] | None = None, **options: Any) -> C:
    """The config that a command line describes. words: None takes those of this process. options: of `tyro.cli`.

    MLflow writes every parameter as `--name value`, booleans too.
    """
    config: C = tyro.cli(config_type, args=words, config=(tyro.conf.FlagConversionOff,), registry=_rules, **options)
    return config


def names_in(text: str) -> list[str]:
    """The names of a parameter, with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


def inputs_today(stage: str, parameters: Mapping[str, str]) -> Mapping[str, str] | str:
    """The inputs of a run's stage as they are now, by the run's parameters; or the reason, where they cannot be read.

    Empty where the entry point no longer exists, or takes other parameters.
    """
    if not (PROJECT / "entrypoints" / f"{stage}.py").is_file():
        return {}
    entry_point = import_module(f"entrypoints.{stage}")
    known = [field.name for field in fields(entry_point.Config) if field.name in parameters]
    # MLflow logs a parameter as it quoted it for the shell.
    words = [word for name in known for word in (f"--{name.replace('_', '-')}", parameters[name].strip("'"))]
    try:
        config = parsed(entry_point.Config, words, console_outputs=False)
        return dict(entry_point.inputs(config))
    except (NicError, OSError) as error:
        return str(error)
    except SystemExit:
        return {}


def launch(run: Callable[[C], Any], config_type: type[C], needs_store: bool = True) -> None:
    """Read the config from the command line and run.

    An error of the input, the machine or the tracking store ends in a sentence and exit code 1; a fault of the program
    keeps its traceback. Ctrl-C and SIGTERM end in a sentence and exit code 130. What MLflow started ends with the
    process that started it. needs_store: whether the tracking store is asked first.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file of a few kB
    stage = Path(getfile(run)).stem
    try:
        config = parsed(config_type, description=getdoc(run))
    except SystemExit as refusal:
        if refusal.code:
            _note_failure(stage, {}, "its parameters were refused; the log says which")
        raise
    _stages_take_this_python()
    interrupt_when_asked()
    if "MLFLOW_RUN_ID" in os.environ:
        interrupt_with_starter()
    try:
        if is_temporary(PROJECT):
            check_paths(config, PROJECT)
        if needs_store:
            with _uncollected():
                _open_store()
        run(config)
    except KeyboardInterrupt:
        print(f"{stage} was stopped; the same command goes on from what is finished", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        sentences = list(_sentences(error))
        reason = sentences[0] if sentences else f"{type(error).__name__}: {error}"
        if not reason.startswith(StoreUnreached.__name__):
            _note_failure(stage, asdict(config), reason)
        if not sentences:
            raise
        print(*sentences, sep="\n", file=sys.stderr)
        sys.exit(1)


def _note_failure(stage: str, parameters: Mapping[str, object], reason: str) -> None:
    """Note the reason on the run that `mlflow run` has made, unless the stage has begun and noted it already."""
    if "MLFLOW_RUN_ID" in os.environ:  # a stage that begins removes it
        from nic.tracking.runs import note_failure_before_stage

        note_failure_before_stage(stage, parameters, reason)


def _stages_take_this_python() -> None:
    """MLflow starts the stages of a study as `python`, so this Python has to be the first on PATH."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected: MLflow's import makes half a million objects that stay, and looking through them takes a
    sixth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _open_store() -> None:
    from nic.tracking.experiment import open_experiment  # MLflow takes seconds to import, and --help does not need it
    from nic.tracking.store import ask_store

    ask_store()
    open_experiment()


def _sentences(error: Exception) -> Iterator[str]:
    """The sentence of an error. Where the store failed while a refused run was closed, the refusal's comes first."""
    if isinstance(error, NicError):
        yield f"{type(error).__name__}: {error}"
    elif sentence := _sentence(error):
        refusal = next((link for link in _contexts(error) if isinstance(link, NicError)), None)
        if refusal:
            yield f"{type(refusal).__name__}: {refusal}"
        if not isinstance(refusal, StoreUnreached):
            yield sentence


def _contexts(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__context__


def _sentence(error: Exception) -> str | None:
    """None for a fault of the program."""
    from nic.tracking.store import unreached

    if store_error := unreached(error):
        return f"{type(store_error).__name__}: {store_error}"
    return sentence_of(error) if isinstance(error, OSError) else None


def is_temporary(project: Path) -> bool:
    """Whether the project lies in a folder of Python's tempfile: MLflow cloned it there from a git address."""
    return project.parent == Path(tempfile.gettempdir()).resolve() and bool(re.fullmatch(r"tmp\w{8}", project.name))


def check_paths(config: "DataclassInstance", project: Path) -> None:
    """Raises RequestRefused for a relative path that would be written into the clone, or is not in the repository."""
    for field in fields(config):
        value = str(getattr(config, field.name))
        if not value or ":" in value or Path(value).is_absolute():
            continue
        if field.name in WRITTEN:
            problem = "would be written into the clone of a git address, which is deleted"
        elif field.name in READ and not any(project.glob(value)):
            problem = "is not in the repository, which is cloned from a git address"
        else:
            continue
        raise RequestRefused(f"{field.name}={value}: {problem}; give an absolute path: -P {field.name}=/...")
