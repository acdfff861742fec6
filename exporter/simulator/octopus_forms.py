"""The JSON of the Octopus API: rows, pages, errors; as on the official page, or as it was met elsewhere."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from exporter.simulator.batch import SimJob
from exporter.simulator.forms import NullForm, dump
from exporter.simulator.octopus_iam import iso
from exporter.simulator.octopus_spec import DataQueueSpec, ProjectSpec

Row = dict[str, Any]
Spelling = Literal["error_code", "errorCode", "code"]
TimeForm = Literal["iso", "milliseconds", "text", "absent"]

JOB_TYPES: Final = (
    *("PACKAGE_IMPORT", "PACKAGE_DELETE", "SCENARIO_AUTO_MINING"),
    *("SCENARIO_TO_SIM", "FRAME_EXTRACT", "SCENARIO_EXTRACT"),
)
OUTPUT_TYPES: Final = ("DATA_MARK", "OPEN_DATA", "DATA_SET", "REPLAY_SIM", "PLOT_DATA")
PROCESSORS: Final = ("lane-detection", "pedestrian-mining", "点云标注", "image-dedup")
# Forms of which no page tells: a client that guesses is wrong sooner or later.
ODD_SPECS: Final = ("modelarts.vm.cpu.2u", "4U16G", "")

# Status and message of each documented error.
ERRORS: Final = {
    "octopus.400000": (400, "Request parameter verification failed."),
    "octopus.400001": (401, "The request token is invalid."),
    "octopus.400003": (403, "Insufficient permission to operate."),
    "octopus.400004": (404, "The resource does not exist."),
    "octopus.400100": (500, "Internal server error."),
    "octopus.400102": (502, "Bad gateway."),
    "APIG.0101": (404, "The API does not exist or has not been published in the environment"),
    "APIG.0201": (504, "Backend timeout"),
    "APIG.0301": (401, "Incorrect IAM authentication information"),
    "APIG.0307": (401, "The token must be updated"),
    "APIG.0308": (429, "The throttling threshold has been reached"),
}
_MESSAGE_NAMES: Final = {"error_code": "error_msg", "errorCode": "errorMsg", "code": "message"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OctopusQuirks:
    """How a project deviates from the page's examples. `odd_specs` is a share from 0 to 1."""

    spelling: Spelling = "error_code"
    time_form: TimeForm = "milliseconds"
    odd_specs: float = 0.05
    clock_ahead: float = 0.0  # seconds


class OctopusWriter:
    """Writes a project's answers as its `quirks` say, which may be replaced at any moment."""

    def __init__(self, quirks: OctopusQuirks, now: Callable[[], float]) -> None:
        self.quirks = quirks
        self._now = now

    def envelope(self, data: Any = None, code: str = "0") -> bytes:
        """An error; with "0" a page whose payload is `data`."""
        if code == "0":
            return dump(self._meta() | {"payload": data})
        return self.error(code)

    def no_jobs(self, form: NullForm) -> bytes:
        """An answer without rows."""
        return b"null" if form == "null" else self.page([], 0, 10, 0)

    def error(self, code: str, message: str | None = None) -> bytes:
        name = self.quirks.spelling
        text = ERRORS.get(code, (0, "error"))[1] if message is None else message
        return dump({name: code, _MESSAGE_NAMES[name]: text})

    def page(self, rows: Sequence[Row], offset: int, limit: int, total: int) -> bytes:
        info = {"offset": offset, "limit": limit, "total": total}
        return dump(self._meta() | {"payload": {"list": list(rows), "page_info": info}})

    def row(self, spec: ProjectSpec, queue: DataQueueSpec, job: SimJob) -> Row:
        """A data job that waits. What it is follows from its number, so it stays the same from page to page."""
        draw = random.Random(zlib.crc32(f"{queue.key}/{job.id}".encode()))
        ranked, _ = job.changes[-1]
        row: Row = {
            "id": job.id,
            "job_id": 1_000_000 + job.id,
            "job_type": draw.choice(JOB_TYPES),
            "data_id": f"DPK{job.id:07d}",
            "rank_stamp": int(ranked * 1000),
            "project_id": spec.project_id,
            "resource_spec": f"{job.requested.cores}Core_{4 * job.requested.cores}GiB",
            "priority": draw.choice((0, 0, 0, 10, -10)),
            "queue_type": queue.queue_type,
            "workspace_id": "0",
        }
        if queue.queue_type != "INTERNAL":
            row |= {
                "processor_id": 1 + draw.randrange(len(PROCESSORS)),
                "processor_name": draw.choice(PROCESSORS),
                "source": "API",
                "output_type": draw.choice(OUTPUT_TYPES),
            }
        if queue.cluster_type:
            row |= {"cluster_type": queue.cluster_type, "cluster_id": queue.cluster_id}
        if draw.random() < self.quirks.odd_specs:
            row["resource_spec"] = draw.choice(ODD_SPECS)
        return row

    def _meta(self) -> dict[str, Any]:
        now = self._now() + self.quirks.clock_ahead
        milliseconds = int(now * 1000)
        forms = {"iso": iso(now), "milliseconds": milliseconds, "text": str(milliseconds)}
        form = self.quirks.time_form
        return {"meta_info": {} if form == "absent" else {"current_time": forms[form]}}
