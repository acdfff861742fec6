"""Errors of polls: every message exists in English and in Chinese, and is free of secrets in both."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter
from exporter.errors import PermanentError, PollError, TransientError
from exporter.redaction import remember
from exporter.sources.collector import registry
from exporter.text import Text

PACKAGE = Path(exporter.__file__).parent
ABSTRACT = {PollError, TransientError, PermanentError}


def subclasses(kind: type[PollError]) -> Iterator[type[PollError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


KINDS = sorted({*subclasses(PollError)} - ABSTRACT, key=str)


def messages() -> Iterator[tuple[str, str, ast.expr]]:
    """Yield the place, the class and the message of each error that a poll of `serve` may raise.

    Commands are in English.
    """
    registry()
    kinds = {kind.__name__ for kind in subclasses(PollError)}
    for path in sorted(set(PACKAGE.rglob("*.py")) - set(PACKAGE.glob("cli/*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                yield f"{path.name}:{node.lineno}", node.func.id, node.args[0]


def is_english(message: ast.expr) -> bool:
    """Whether a message is a string, and so in one language alone."""
    return isinstance(message, ast.JoinedStr | ast.Constant | ast.BinOp)


def test_no_message_is_in_one_language() -> None:
    assert [place for place, _, message in messages() if is_english(message)] == []
    assert len(list(messages())) > 25


def test_every_text_in_two_languages_is_whole() -> None:
    """Chinese with its own characters: of an identifier alone there is nothing to translate."""
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Text":
                if len(node.args) != 2:
                    continue
                en, zh = (ast.unparse(argument) for argument in node.args)
                found += 1
                assert en != "''" or zh != "''", path
                assert not any(character >= "\u4e00" for character in en), f"{path.name}:{node.lineno}"
    assert found > 100


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_has_a_reason_and_keeps_both_languages(kind: type[PollError]) -> None:
    remember(("s3cr3t-of-a-region",))
    error = kind(Text("no s3cr3t-of-a-region", "没有 s3cr3t-of-a-region"), culprit="lab", api_code="10008")
    assert error.reason
    assert (str(error), error.text) == ("no <secret>", Text("no <secret>", "没有 <secret>"))
    error.text = Text(f"the login failed: {error}", f"登录失败：{error.text.zh}")
    assert (str(error), error.text.zh) == ("the login failed: no <secret>", "登录失败：没有 <secret>")
