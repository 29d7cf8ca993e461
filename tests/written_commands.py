"""The commands that a reader of nic meets: in documents, help, messages and printed lines, as words."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
COMMENTED = sorted(
    file
    for pattern in (
        "Makefile",
        "deploy/**/*.*",
        "studies/*.yaml",
        "registry/*.yaml",
        "pyproject.toml",
        "requirements*.txt",
    )
    for file in ROOT.glob(pattern)
    if "served" not in file.relative_to(ROOT).parts
)
"""Files whose comments have commands."""
MODULES = sorted(
    file
    for folder in ("nic", "entrypoints", "registry", "benchmarks", "docs")
    for file in ROOT.glob(f"{folder}/**/*.py")
)
PROGRAMS = (
    *("mlflow", "python", "python3.11", "make", "pip", "pytest", "curl", "docker", "docker-compose", "sh", "cp", "ray"),
    *("git", "nginx", "openssl", "mkdir"),
)
ANYTHING = "..."
"""Stands for a value in a command that shows a form; a <placeholder> and a value of an f-string are read as it."""
_ENVIRONMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
_PRINTED = re.compile(r"^\w+:\s+((?:[A-Z_]+=\S+ )*(?:mlflow|python) .+)$", re.MULTILINE)
"""A line that an entry point prints: `Serve:  NIC_SLIDE_ROOTS=... mlflow models serve ...`."""
_INSTALL = re.compile(r"\bpip install [-\w./\[\]=]+(?: [-\w./\[\]=]+\.txt)?")


@dataclass(frozen=True)
class Command:
    """One command. place: file, and line where it is known. block: whether it stands in a block of commands, whole;
    else it is a mention in a sentence, and may be a part."""

    place: str
    environment: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    block: bool

    @property
    def text(self) -> str:
        return shlex.join(self.words)

    @property
    def is_form(self) -> bool:
        """Whether it shows a form, with ... for values."""
        return any(ANYTHING in word for word in self.words)


def all_commands() -> list[Command]:
    """Each once a file."""
    written = (*from_pages(), *from_comments(), *from_modules())
    return list({(c.place.partition(":")[0], c.words, c.environment): c for c in written}.values())


def from_pages() -> Iterator[Command]:
    for page in PAGES:
        place = str(page.relative_to(ROOT))
        for token in tokens(page.read_text()):
            match token.type:
                case "code_block" | "fence" if not token.info.startswith("python"):
                    yield from in_block(token.content, place)
                case "code_inline":
                    yield from in_mention(token.content, place)


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a Markdown text, those within lines too."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def snippets() -> Iterator[tuple[str, str]]:
    """The Python in documents: place and content."""
    for page in PAGES:
        for token in tokens(page.read_text()):
            if token.type == "fence" and token.info.startswith("python"):
                yield str(page.relative_to(ROOT)), token.content


def from_comments() -> Iterator[Command]:
    for file in COMMENTED:
        place = str(file.relative_to(ROOT))
        comments = (line.lstrip("# ") for line in file.read_text().splitlines() if line.lstrip().startswith("#"))
        yield from in_block("\n".join(line for line in comments if _begins_with_program(line)), place)
        for mention in re.findall(r"`([^`]+)`", file.read_text()):
            yield from in_mention(mention, place)


def from_modules() -> Iterator[Command]:
    """Docstrings, help, errors and printed lines; in f-strings each value stands as `...`."""
    for file in MODULES:
        tree = ast.parse(file.read_text())
        parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(v.value if isinstance(v, ast.Constant) else ANYTHING for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
                text = node.value.replace("{}", ANYTHING)
            else:
                continue
            yield from in_text(text, f"{file.relative_to(ROOT)}:{node.lineno}")


def in_text(text: str, place: str) -> Iterator[Command]:
    indented = re.findall(r"^ {4,}(.*)$", text, re.MULTILINE)
    yield from in_block("\n".join(line for line in _joined(indented) if _begins_with_program(line)), place)
    for printed in _PRINTED.findall(text):
        yield from in_block(printed, place)
    for mention in re.findall(r"`([^`\n]+)`", text):
        yield from in_mention(mention, place)
    for install in _INSTALL.findall(text):
        yield from in_mention(install, place)


def _joined(lines: list[str]) -> list[str]:
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def _begins_with_program(line: str) -> bool:
    words = [word for word in line.split() if not _ENVIRONMENT.fullmatch(word)]
    return bool(words) and words[0] in PROGRAMS


def in_block(text: str, place: str) -> Iterator[Command]:
    """The commands of a block of lines. A line goes on after a backslash, and as long as a quotation is open."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += line.strip().removeprefix("entrypoint: ").removeprefix("$ ") + "\n"
        try:
            words = shlex.split(_with_values(begun), comments=True)
        except ValueError:  # the quotation is open
            continue
        begun = ""
        for part in _parts(words):
            yield from _command(part, place, block=True)


def in_mention(text: str, place: str) -> Iterator[Command]:
    """The command of a code span: whole, an entry point with parameters, or parameters alone."""
    try:
        words = shlex.split(_with_values(text).replace(" ", " "))
    except ValueError:
        return
    for part in _parts(words):
        yield from _command(part, place, block=False)


def _with_values(text: str) -> str:
    """`...` for a <placeholder>; optional parts in brackets, [--rounds 3], count."""
    text = re.sub(r"\[(--?[^\]]*|[A-Z]+|study|slide|encoder[^\]]*)\]", r"\1", text)
    return re.sub(r"\$\([^)]*\)|<[^<>|]+>", ANYTHING, text)


def _parts(words: list[str]) -> Iterator[list[str]]:
    """Commands that are joined by && or a pipe."""
    part: list[str] = []
    for word in (*words, "&&"):
        if word in ("&&", "|", ";", "&"):
            yield part
            part = []
        else:
            part.append(word)


def _command(words: list[str], place: str, *, block: bool) -> Iterator[Command]:
    environment, rest = [], list(words)
    while rest and (setting := _ENVIRONMENT.fullmatch(rest[0])):
        environment.append((setting[1], setting[2]))
        rest.pop(0)
    if rest:
        rest[0] = rest[0].removeprefix(".venv/bin/")
    parameters_alone = rest and rest[0] == "-P"
    entry_point = len(rest) > 1 and "-P" in rest and re.fullmatch(r"[a-z_]+", rest[0])
    if rest and (rest[0] in PROGRAMS or parameters_alone or entry_point):
        yield Command(place, tuple(environment), tuple(rest), block)
