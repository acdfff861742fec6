"""How far our clock is from the server's, by the Date header (RFC 9110, section 6.6.1)."""

import email.utils
from datetime import UTC

from exporter.http.client import Response

# The least that is worth a warning, in seconds. Below it are slow answers and clocks that are good enough.
ALARMING_SKEW = 60.0
# The header has whole seconds, and the answer was some time on its way.
DATE_RESOLUTION = 2.0


def clock_skew(response: Response) -> float | None:
    """How far our clock is ahead of the server's, in seconds, by the answer's Date header; None without one."""
    try:
        moment = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
        # HTTP dates are in GMT; one that does not say so would be taken for this machine's local time.
        return response.received - moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def describe_skew(skew: float) -> str:
    """The words for a clock that is off."""
    direction = "ahead of" if skew > 0 else "behind"
    return f"this machine's clock is {abs(skew):.0f} s {direction} the server's, and signatures need the right time: set it"
