"""The keys of the configuration, read from its schema: where each stands, what it takes, what it says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter.config import checks, schema
from exporter.config.values import Boolean, Bounds, FilePath, Name, Section

# What a value is, by the type that reads it. The words are the languages' affair.
KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (schema.Interval, "duration"),
    (schema.Timeout, "duration"),
    (schema.BodySize, "size"),
    (schema.Concurrency, "requests"),
    (schema.Retries, "attempts"),
    (schema.MaxJobs, "jobs"),
    (schema.Rate, "rate"),
    (Boolean, "boolean"),
    (schema.Id, "id"),
    (schema.Segment, "text"),
    (Name, "text"),
    (schema.HpcUrl, "address"),
    (schema.AcUrl, "address"),
    (schema.Url, "address"),
    (schema.HeaderSecret, "secret"),
    (schema.BodySecret, "secret"),
    (schema.HeaderSecretFile, "secret_file"),
    (schema.BodySecretFile, "secret_file"),
    (schema.AuthoritiesFile, "file"),
    (FilePath, "file"),
    (schema.Collected, "collected"),
    (schema.UserEntry, "name_or_section"),
)


@dataclass(frozen=True)
class Key:
    """One key. `path` is like ``clusters[].users``; `section` is that of the section that it holds, if it holds one."""

    path: str
    name: str
    description: str
    kind: str
    is_list: bool
    is_required: bool
    default: Any = None
    bounds: Bounds | None = None
    section: str | None = None


@dataclass(frozen=True)
class Part:
    """A section: `path` is where it stands first, `also` where else. `only_one` are sets of keys that exclude each other."""

    path: str
    description: str
    keys: tuple[Key, ...]
    also: tuple[str, ...] = ()
    exactly_one: tuple[tuple[str, ...], ...] = ()
    at_most_one: tuple[tuple[str, ...], ...] = ()
    either: tuple[tuple[str, ...], ...] = ()


@dataclass
class _Survey:
    """Sections by class, in the order in which the schema shows them."""

    places: dict[type[Section], list[str]] = field(default_factory=dict)
    keys: dict[type[Section], tuple[Key, ...]] = field(default_factory=dict)

    def look_at(self, section: type[Section], path: str) -> None:
        self.places.setdefault(section, []).append(path)
        if len(self.places[section]) > 1:
            return
        self.keys[section] = ()
        held = [self._look_at_key(name, field_, path) for name, field_ in section.model_fields.items()]
        self.keys[section] = tuple(held)

    def _look_at_key(self, name: str, field_: FieldInfo, path: str) -> Key:
        where = f"{path}.{name}".lstrip(".")
        inner, is_list = _value_of(field_)
        kind, section = _kind_of(inner)
        if section is not None:
            self.look_at(section, f"{where}[]" if is_list else where)
        extra = field_.json_schema_extra if isinstance(field_.json_schema_extra, dict) else {}
        return Key(
            path=where,
            name=name,
            description=field_.description or "",
            kind=kind,
            is_list=is_list,
            is_required=field_.is_required(),
            default=extra.get("default"),
            bounds=_bounds_of(inner),
            section=None if section is None else self.places[section][0],
        )


def parts() -> list[Part]:
    """The document itself, with an empty path, and all its sections."""
    survey = _Survey()
    survey.look_at(schema.Document, "")
    return [
        Part(
            path=places[0],
            description=" ".join((section.__doc__ or "").split()),
            keys=survey.keys[section],
            also=tuple(places[1:]),
            exactly_one=EXACTLY_ONE.get(places[0], ()),
            at_most_one=AT_MOST_ONE.get(places[0], ()),
            either=EITHER.get(places[0], ()),
        )
        for section, places in survey.places.items()
    ]


EXACTLY_ONE: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "clusters[]": (checks.TOKEN_OF_REGION,),
    "octopus[]": (checks.TOKEN_OF_PROJECT,),
    "octopus[].iam": (checks.PASSWORD,),
}
AT_MOST_ONE: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "accounts[]": (checks.ACCESS_KEY, checks.SECRET_KEY, checks.PASSWORD),
    "clusters[].users[]": (checks.TOKEN_OF_REGION,),
}
EITHER: Final[dict[str, tuple[tuple[str, ...], ...]]] = {"accounts[]": (checks.KEY_LOGIN, checks.PASSWORD_LOGIN)}


def keys() -> Iterator[Key]:
    """Every key of every section."""
    for part in parts():
        yield from part.keys


def _value_of(field_: FieldInfo) -> tuple[Any, bool]:
    """What a key or each item of its list holds, and whether it is a list."""
    # pydantic takes the marks of the outermost Annotated off the annotation.
    whole = Annotated[field_.annotation, *field_.metadata] if field_.metadata else field_.annotation
    if get_origin(whole) in (Union, UnionType):
        whole = next(choice for choice in get_args(whole) if choice is not type(None))
    if get_origin(whole) is tuple:
        return get_args(whole)[0], True
    return whole, False


def _kind_of(value: Any) -> tuple[str, type[Section] | None]:
    """The word for a value, and the section that it is."""
    if isinstance(value, type) and issubclass(value, Section):
        return "section", value
    kind = next((kind for known, kind in KINDS if known == value), None)
    if kind is None:
        raise LookupError(f"{value!r} has no word: give it one in KINDS")
    return kind, schema.UserSection if kind == "name_or_section" else None


def _bounds_of(value: Any) -> Bounds | None:
    marks = (getattr(mark, "func", None) for mark in getattr(value, "__metadata__", ()))
    return next((mark for mark in marks if isinstance(mark, Bounds)), None)
