"""As much of the shell as it takes to find the commands in an example."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.docs.pages import Block

_COMMENT: Final = re.compile(r"""(^|\s)#(\s.*)?$""")
_HERE: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_DUPLICATED: Final = re.compile(r"\s[012]?>&[012-]")
_NUMBERED: Final = re.compile(r"\s[012]>")
_SUBSTITUTED: Final = re.compile(r"\$\([^()]*\)")
_OPERATOR: Final = re.compile(r"^[|&;<>()]+$")
_ASSIGNMENT: Final = re.compile(r"^\w+=")
# What may stand before the command that it runs.
_BEFORE: Final = {"sudo", "exec", "env", "time", "nohup", "then", "do", "if", "!"}


@dataclass(frozen=True)
class Command:
    """A simple command: its words, without assignments before it and redirections. `line` is where it begins.

    `output` is the file that its output goes to, and `piped` whether it goes to another command.
    """

    words: tuple[str, ...]
    line: int
    written: str
    output: str = ""
    piped: bool = False

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2]

    @property
    def exporter_arguments(self) -> tuple[str, ...] | None:
        """What the exporter is given, if this command starts it, itself or behind ``--``; else None."""
        if "--" in self.words and "hpc-exporter" in self.words[self.words.index("--") + 1 :][:1]:
            return self.words[self.words.index("--") + 2 :]
        if self.program == "hpc-exporter":
            return self.words[1:]
        started = next((index for index, word in enumerate(self.words) if word.endswith("/bin/hpc-exporter")), None)
        if started is not None:
            return self.words[started + 1 :]
        if self.program == "docker":
            return self._given_to_container
        return self.words[3:] if self.module == "exporter" else None

    @property
    def _given_to_container(self) -> tuple[str, ...] | None:
        """What follows the image of ``docker run``, or the service of ``docker compose run``."""
        image = r"hpc-exporter" if self.words[1:3] == ("compose", "run") else r"([\w.-]+(:\d+)?/)*hpc-exporter:[\w.-]+"
        if "run" not in self.words[1:3]:
            return None
        at = next((index for index, word in enumerate(self.words) if re.fullmatch(image, word)), None)
        return None if at is None else self.words[at + 1 :]

    @property
    def module(self) -> str | None:
        """What ``python -m`` runs."""
        is_python = self.program.startswith("python") and self.words[1:2] == ("-m",) and len(self.words) > 2
        return self.words[2] if is_python else None


def commands(block: Block) -> Iterator[Command]:
    """The commands of an example: all lines of a script; of a console, those after a prompt.

    Raises ValueError, with the line's number, for what the shell cannot read either.
    """
    for line, text in _joined(block):
        try:
            yield from _simple(text, line)
        except ValueError as error:
            raise ValueError(f"{line}: the shell cannot read this: {error}") from None


def of_line(text: str) -> list[Command]:
    """The commands of one line without a prompt."""
    return list(_simple(text, 1))


def _joined(block: Block) -> Iterator[tuple[int, str]]:
    """Lines that the shell would read, those that end in a backslash joined with the next, without here-documents."""
    # Everything is read in a script; in a console, what follows the prompt: that of its first line, root's or not.
    prompt = block.text[:2] if block.language == "console" else ""
    begun, start, until = "", 0, ""
    for number, line in block.numbered():
        if until:
            until = "" if line.strip() == until else until
            continue
        if not begun and not line.startswith(prompt):
            continue
        text = begun + (line if begun else line.removeprefix(prompt))
        start = start if begun else number
        if line.endswith("\\"):
            begun = text[:-1]
            continue
        begun = ""
        here = _HERE.search(text)
        until = here[1] if here else ""
        yield start, _HERE.sub("", text)


def _simple(text: str, line: int) -> Iterator[Command]:
    """The simple commands of one line."""
    bare = _COMMENT.sub("", _SUBSTITUTED.sub("X", text))
    bare = _NUMBERED.sub(" >", _DUPLICATED.sub("", bare))
    lexer = shlex.shlex(bare, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    redirections: dict[str, str] = {}
    redirection = ""
    for token in [*lexer, ";"]:
        if not _OPERATOR.match(token):
            if redirection:
                redirections[redirection] = token
            else:
                words.append(token)
            redirection = ""
        elif token[0] in "<>":
            redirection = token
        else:
            command = _without_prefix(words)
            if command:
                yield Command(tuple(command), line, text.strip(), redirections.get(">", ""), token == "|")
            words, redirections = [], {}


def _without_prefix(words: list[str]) -> list[str]:
    rest = list(words)
    while rest and (rest[0] in _BEFORE or _ASSIGNMENT.match(rest[0])):
        del rest[: 3 if rest[:2] == ["sudo", "-u"] else 1]
    return rest
