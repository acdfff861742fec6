"""The effective configuration as YAML: every default filled in, every secret hidden."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from exporter.config.model import Account, Config
from exporter.config.secrets import FileSecret, Secret
from exporter.config.units import format_duration, format_size
from exporter.redaction import redact

_DURATIONS = frozenset({"interval", "timeout", "stale_after"})
_HIDDEN = "<secret>"


def effective_yaml(config: Config) -> str:
    """Return `config` in the form of a configuration file; a secret's file is named, any other is ``<secret>``."""
    return yaml.safe_dump(_section(config), sort_keys=False, allow_unicode=True)


def _section(part: BaseModel) -> dict[str, Any]:
    section: dict[str, Any] = {}
    for name, value in part:
        if value is None or (name == "token_url" and _logs_in_with_password(part)):
            continue
        if isinstance(value, Secret):
            section |= _secret(name, value)
        elif name in _DURATIONS:
            section[name] = format_duration(value)
        elif name.endswith("url") or isinstance(value, Path):
            # Names are never secrets; a token may have been pasted into one of these.
            section[name] = redact(_literal(str(value)))
        elif name == "max_body":
            section[name] = format_size(value)
        else:
            section[name] = _value(value)
    return section


def _logs_in_with_password(part: BaseModel) -> bool:
    return isinstance(part, Account) and part.password is not None


def _secret(key: str, secret: Secret) -> dict[str, str]:
    if isinstance(secret, FileSecret):
        return {f"{key}_file": redact(_literal(str(secret.path)))}
    return {key: _HIDDEN}


def _value(value: object) -> object:
    if isinstance(value, BaseModel):
        return _section(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return _literal(str(value)) if isinstance(value, str | Path) else value


def _literal(text: str) -> str:
    """Keep what looks like a variable from being replaced when the text is loaded again."""
    return text.replace("${", "$${")
