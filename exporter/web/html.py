"""HTML in which text is text: whatever is not made by `element` is escaped."""

from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element with its children, which are `Markup`, text, or None for nothing.

    An attribute is written with underscores for hyphens, ``class_`` for class; True is one without a value, None and
    False are left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>{together(*children)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """An element that has no children and no end, like meta."""
    return Markup(element(name, **attributes).removesuffix(f"</{name}>"))


def together(*children: object) -> Markup:
    """One after the other."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(str(child)) for child in children if child is not None)
    )
