"""What an upstream wrote, made fit for a message."""

MESSAGE_LIMIT = 200


def excerpt(body: bytes) -> str:
    """The start of a body that was not understood."""
    return one_line(body[: 4 * MESSAGE_LIMIT].decode(errors="replace")) or "an empty body"


def one_line(text: str) -> str:
    """Printable text of bounded length, white space folded."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:MESSAGE_LIMIT]
