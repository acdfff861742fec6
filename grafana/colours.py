"""The colours of the dashboards, and the values from which on they are used."""

from collections.abc import Sequence
from typing import Any, Final

# Okabe and Ito's colours, told apart by people of any colour vision. Blue is well, orange wants a look, vermilion action.
BLUE, SKY, GREEN, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
PURPLE, YELLOW, GREY, TEAL, WINE = "#CC79A7", "#F0E442", "#999999", "#44AA99", "#882255"

STATE_COLOURS: Final = {
    "running": GREEN,
    "queued": ORANGE,
    "held": PURPLE,
    "suspended": YELLOW,
    # Two more of Tol's, for states that are rare.
    "waiting": TEAL,
    "exiting": BLUE,
    "other": GREY,
    "unknown": VERMILION,
}
OUTCOME_COLOURS: Final = {
    "completed": SKY,
    "deleted": GREY,
    "failed": VERMILION,
    "timeout": ORANGE,
    "node_failure": PURPLE,
    "vanished_running": BLUE,
    "vanished_queued": YELLOW,
    "unknown": GREY,
}

REASON_COLOURS: Final = {
    "priority": SKY,
    "resources": BLUE,
    "limit": ORANGE,
    "dependency": TEAL,
    "held": PURPLE,
    "begin_time": YELLOW,
    "nodes_unavailable": VERMILION,
    "other": GREY,
}

# Values from each of which on a colour is used; the first is from None.
Steps = Sequence[tuple[float | None, str]]
# Seconds that a job has waited: half a day, a day.
WAITING: Final[Steps] = ((None, SKY), (43200, ORANGE), (86400, VERMILION))
# Seconds that are left of a token.
LEFT: Final[Steps] = ((None, VERMILION), (0, ORANGE), (14400, SKY))


def thresholds(steps: Steps) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": start, "color": colour} for start, colour in steps]}


def shades(colour: str) -> dict[str, Any]:
    """Defaults that draw all series in shades of one colour: none of them is good news."""
    return {"color": {"mode": "shades", "fixedColor": colour}}
