"""The files that the status page is made of, ready in memory."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import web

PREFIX: Final = "/static/"
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    content_type: str
    etag: str


def static_files() -> dict[str, StaticFile]:
    """All files of the package's folder `static`, by name. Blocks while it reads them."""
    files = {}
    for file in resources.files("exporter.web").joinpath("static").iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix in _TYPES:
            content = file.read_bytes()
            files[file.name] = StaticFile(content, _TYPES[suffix], hashlib.sha256(content).hexdigest()[:16])
    return files


def answer_with(file: StaticFile, request: web.Request) -> web.Response:
    """The file, or the word that the browser has it already."""
    # It asks each time: an exporter that was updated must not meet a page of before.
    headers = {"Cache-Control": "no-cache", "ETag": f'"{file.etag}"', "X-Content-Type-Options": "nosniff"}
    known = request.if_none_match or ()
    if any(etag.value in (file.etag, "*") for etag in known):
        return web.Response(status=304, headers=headers)
    charset = None if file.content_type == "image/svg+xml" else "utf-8"
    return web.Response(body=file.content, content_type=file.content_type, charset=charset, headers=headers)
