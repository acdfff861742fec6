"""The commands of examples, as far as they start something of ours."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.docs.pages import Block, Page

_HERE: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_BEFORE: Final = {"sudo", "exec", "env", "time", "nohup", "then", "do", "if", "!"}
_IMAGE: Final = re.compile(r"([\w.-]+(:\d+)?/)*hpc-exporter:[\w.-]+")


@dataclass(frozen=True)
class Command:
    """A simple command: its words, without assignments before it and redirections. `line` is where it begins.

    `output` is the file that its output goes to, and `piped` whether it goes to another command.
    """

    words: list[str]
    line: int
    written: str
    output: str = ""
    piped: bool = False

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2]

    @property
    def exporter_arguments(self) -> list[str] | None:
        """The arguments of the exporter, if this command starts it, itself, in a container or behind ``--``.

        Else None.
        """
        words = self.words
        if self.program == "hpc-exporter":
            return words[1:]
        if self.program.startswith("python") and words[1:3] == ["-m", "exporter"]:
            return words[3:]
        image = "hpc-exporter" if words[1:3] == ["compose", "run"] else _IMAGE
        for index, word in enumerate(words):
            in_container = self.program == "docker" and "run" in words[1:3] and re.fullmatch(image, word)
            behind = word == "hpc-exporter" and words[index - 1] == "--"
            if in_container or behind or word.endswith("/bin/hpc-exporter"):
                return words[index + 1 :]
        return None


def commands(page: Page) -> Iterator[Command]:
    """All lines of scripts; of consoles, those after a prompt. Raises ValueError where the shell cannot read one."""
    for block in page.blocks_of("console", "sh", "bash"):
        for line, text in _joined(block):
            yield from simple_commands(text, line)


def _joined(block: Block) -> Iterator[tuple[int, str]]:
    """Lines that the shell would read, those that end in a backslash joined with the next, without here-documents."""
    prompt = block.text[:2] if block.language == "console" else ""
    begun, start, until = "", 0, ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        if until or not (begun or line.startswith(prompt)):
            until = "" if line.strip() == until else until
            continue
        start = start if begun else number
        begun += line if begun else line.removeprefix(prompt)
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        here = _HERE.search(begun)
        until = here[1] if here else ""
        yield start, _HERE.sub("", begun)
        begun = ""


def simple_commands(text: str, line: int) -> Iterator[Command]:
    """Yield the simple commands of one line."""
    bare = re.sub(r"\$\([^()]*\)", "X", text)
    bare = re.sub(r"\s[012]?>&[012-]|(^|\s)#(\s.*)?$", "", bare)
    lexer = shlex.shlex(re.sub(r"\s[012]>", " >", bare), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    output, redirection = "", ""
    for token in [*lexer, ";"]:
        if not re.fullmatch(r"[|&;<>()]+", token):
            if not redirection:
                words.append(token)
            output = token if redirection == ">" else output
            redirection = ""
        elif token[0] in "<>":
            redirection = token
        else:
            while words and (words[0] in _BEFORE or re.match(r"\w+=", words[0])):
                del words[: 3 if words[:2] == ["sudo", "-u"] else 1]
            if words:
                yield Command(words, line, text.strip(), output, token == "|")
            words, output = [], ""
