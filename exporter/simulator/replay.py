"""Captured answers, served again: each request gets the answer to the captured one that is most like it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from aiohttp import web

# Headers that describe the connection or the coding of a body, which is served plainly.
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "date", "server"})


class Asked(TypedDict):
    """A captured request."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


class Answered(TypedDict):
    """Its answer."""

    status: Annotated[int, msgspec.Meta(ge=200, lt=600)]
    headers: dict[str, Any]
    body: Any


class Exchange(TypedDict):
    """The content of a file of a capture."""

    source: str
    asked_with: str
    request: Asked
    response: Answered


class ReplayError(Exception):
    """A folder that holds no capture."""


class Replay:
    """The exchanges of a folder that `hpc-exporter capture` wrote; the first part of a path is the source's name."""

    def __init__(self, folder: Path) -> None:
        """Read the folder. Raises ReplayError."""
        try:
            self.configuration = (folder / "replay.yml").read_text(encoding="utf-8")
            documents = [
                msgspec.json.decode(path.read_bytes(), type=Exchange) for path in sorted(folder.glob("*.json"))
            ]
        except OSError as error:
            raise ReplayError(f"{folder} holds no capture: {error.filename}: {error.strerror}") from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ReplayError(
                f"{folder} holds no capture: a file in it is none of hpc-exporter capture: {error}"
            ) from None
        self._exchanges = [each for each in documents if each["asked_with"] == "own"]
        self.sources = sorted({each["source"] for each in self._exchanges})
        if not self._exchanges:
            raise ReplayError(f"{folder} holds no capture: there are no answers in it")

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request to /SOURCE/PATH."""
        found = max(self._like(request, await request.text()), default=None)
        if found is None:
            return web.Response(status=404, text="404: Not Found: there is no captured answer to this")
        response = self._exchanges[-found[-1]]["response"]
        headers = {name: str(value) for name, value in response["headers"].items() if name.lower() not in _OF_THE_WIRE}
        body = response["body"]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        return web.Response(status=response["status"], headers=headers, body=text.encode())

    def _like(self, request: web.Request, body: str) -> Iterator[tuple[int, bool, int]]:
        """Yield the likeness of each captured request to this one, whether it worked, and its number from the end.

        A token is told from others by its stand-in, which a replayed login gives.
        """
        source, _, path = request.rel_url.raw_path.removeprefix("/").partition("/")
        fields, sent_headers = _fields(body), set(request.headers.values())
        for number, each in enumerate(self._exchanges):
            captured = urlsplit(each["request"]["target"])
            if (each["request"]["method"], captured.path) != (request.method, f"/{path}"):
                continue
            pairs = set(parse_qsl(captured.query, keep_blank_values=True))
            sent = each["request"]["body"]
            same = sum(sent.get(name) == value for name, value in fields.items()) if isinstance(sent, dict) else 0
            alike = 4 * (len(pairs & set(request.query.items())) + same) + 2 * (each["source"] == unquote(source))
            alike += any(value in sent_headers for value in each["request"]["headers"].values())
            yield alike, _worked(each["response"]), len(self._exchanges) - number


def _worked(response: Answered) -> bool:
    code = response["body"].get("code", "0") if isinstance(response["body"], dict) else "0"
    return response["status"] < 400 and str(code) == "0"  # noqa: PLR2004 - HTTP's errors


def _fields(body: str) -> dict[str, object]:
    """Return the fields of a request's body; none where it is no JSON object."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def configuration(replay: Replay, url: str) -> str:
    """Return a configuration (YAML) for a replay that is served at `url`."""
    return replay.configuration.replace("${REPLAY_URL}", url)
