"""The effective configuration as YAML: every default filled in, every secret hidden."""

from typing import Any

import yaml

from exporter.config.model import Config


def effective_yaml(config: Config) -> str:
    """Return `config` in the form of a configuration file; a secret's file is named, any other is ``<secret>``.

    Each type in `exporter.config.values` says how it is written.
    """
    content = config.model_dump(exclude_none=True)
    for account in content["accounts"]:
        # Its default does not go with a login by password.
        if "org_id" in account:
            del account["token_url"]
    return yaml.safe_dump(_literal(content), sort_keys=False, allow_unicode=True)


def _literal(value: Any) -> Any:
    """Keep what looks like a variable from being replaced when the text is loaded again."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return [_literal(each) for each in value] if isinstance(value, list | tuple) else value
