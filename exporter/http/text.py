"""What an upstream wrote, made fit for a message."""

from exporter.redaction import redact
from exporter.text import is_visible

MESSAGE_LIMIT = 200


def excerpt(body: bytes) -> str:
    """The start of a body that was not understood."""
    return one_line(body[: 4 * MESSAGE_LIMIT].decode(errors="replace")) or "an empty body"


def one_line(text: str) -> str:
    """Printable text of bounded length, white space folded, without secrets: afterwards one may be cut in the middle."""
    text = redact(text[: 4 * MESSAGE_LIMIT])
    printable = "".join(char if is_visible(char) else " " for char in text)
    return " ".join(printable.split())[:MESSAGE_LIMIT]
