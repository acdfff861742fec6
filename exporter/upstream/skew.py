"""How far our clock is from the server's, by the Date header (RFC 9110, section 6.6.1)."""

import email.utils

from exporter.upstream.http import Response

# The least that is worth a word, in seconds. Below it are slow answers and clocks that are good enough.
ALARMING_SKEW = 60.0


def clock_skew(response: Response) -> float | None:
    """How far our clock is ahead of the server's, in seconds, by the answer's Date header; None if it has none."""
    try:
        moment = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None
    return response.received - moment.timestamp()
