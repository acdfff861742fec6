"""All dashboards, in the order in which their questions come."""

from typing import Final

from grafana import exporter, members, octopus, overview, queues, waiting
from grafana.parts import Dashboard

BOARDS: Final[tuple[Dashboard, ...]] = (
    overview.BOARD,
    queues.BOARD,
    members.BOARD,
    waiting.BOARD,
    octopus.BOARD,
    exporter.BOARD,
)
