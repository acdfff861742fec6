"""The English reference of the configuration: its texts are those of the schema."""

import re
from typing import Final

from reference.keys import Key, Part
from reference.language import Language

INTRODUCTION: Final = """\
# Configuration

<!-- Made by `make docs` from exporter/config/schema.py. Do not edit: a test compares the two. -->

*[中文](configuration.zh.md)*

One YAML file: `exporter.yml` in the current folder, or what `--config.file` names. This is enough to begin with:

```yaml
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token_file: kunshan-token
```

`hpc-exporter check` names every mistake with its line and column; an unknown key and one that is given twice are mistakes
too. [`config/exporter.example.yml`](../config/exporter.example.yml) shows every key in one file, and
[`config/exporter.schema.json`](../config/exporter.schema.json) lets editors complete and explain them. `/config` of a
running exporter shows what is in effect, without secrets.

## How values are written

| value | how |
|---|---|
| duration | whole numbers with the units `w`, `d`, `h`, `m`, `s`, `ms`, larger ones first: `500ms`, `15s`, `1h30m`, `2d`. A number without a unit is a mistake |
| size | a whole number with a unit of `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`: `64MiB` |
| text | with quotes or without; it stays as it is written: a user can be called `1234` or `on`. No white space at its ends |
| id | every digit: `533686286955839488`. What a spreadsheet made of it, `5.33687E+17`, is refused |
| true or false | also `yes` or `no`, `on` or `off` |
| address | `https://host:port`; without a user name, a password, `?` or `#`. With `http://`, which everybody on the way can read, `hpc-exporter check` warns, unless it is this very machine |
| path | from the folder of the configuration file on, or from the root: `/etc/hpc-exporter/token` |

A key that is left out, or has no value, has its default.

### Variables

`${NAME}` in a value is replaced with the environment variable; one that is not set is a mistake, which names it. `$${`
stands for a literal `${`. A variable is always a value, or a part of one: nothing in it can become a key or a list.

### Secrets

Every token, key and password can be given in three ways: in the file itself, as `${NAME}`, or in a file of its own by the
key that ends in `_file`. Files are looked at every two seconds: a new content is used at once, without a reload, and what
failed for the old one is tried again. A file that is broken later does no harm: its last good content stays in use, and the
log says so. White space around a secret is dropped; a second line is a mistake. The file of `tls.ca_file` is looked at in the same
way: new connections use its new content, and a broken one changes nothing.

### Reloading

Every key takes effect at a reload; none needs a restart. A reload is SIGHUP, POST or PUT to `/-/reload`, or
`--config.enable-auto-reload`, and it is all or nothing: with a mistake in the file the configuration before goes on. A region
or project of which nothing changed goes on as if nothing had happened. Of one that changed, the connections are new, and each
target that still asks the same address about the same thing keeps its data; so do all of them where `poll.max_concurrency`
of the top level changed. What only flags can say does need a restart: see [the command line](cli.md).

## Sections

At least one of `clusters`, `octopus` and `accounts` is needed.
"""

KINDS: Final = {
    "duration": "duration",
    "size": "size",
    "requests": "whole number of requests",
    "attempts": "whole number of attempts",
    "jobs": "whole number of jobs",
    "rate": "number above 0: requests per second",
    "boolean": "true or false",
    "id": "id",
    "text": "text",
    "address": "address",
    "secret": "secret",
    "secret_file": "path of a secret",
    "file": "path",
    "collected": "[collectors](#collectors)",
}


def of_section(part: Part) -> str:
    """What the schema says, but for what is said by `Part.exactly_one`."""
    return re.sub(r" Give exactly one of [^.]*\.", "", part.description)


def of_key(key: Key) -> str:
    return key.description


ENGLISH: Final = Language(
    introduction=INTRODUCTION,
    columns=("key", "value", "default", "meaning"),
    kinds=KINDS,
    clause=", ",
    comma=", ",
    and_=" and ",
    bounds="{} to {}",
    list_of="list: {}",
    required="required",
    section="see {}",
    name_or_section="list: name, or see {}",
    also="Also {}, with the same keys.",
    exactly_one="Exactly one of {}.",
    at_most_one="At most one of {}.",
    either="Either {}, or {}: those of the one do not go with those of the other.",
    collectors="Collectors",
    collectors_text="What `collect` can name. A collector requests one endpoint in one way. Those that are not on by default are "
    "optional: where a region answers 404 or 405, the endpoint is not there, and is requested again once an hour.",
    collector_columns=("section", "collector", "default", "for each", "gives", "metrics"),
    yes="yes",
    no="no",
    say=lambda text: text.en,
    of_section=of_section,
    of_key=of_key,
)
