"""How far our clock is from the server's, by the Date header (RFC 9110, section 6.6.1)."""

import email.utils
from datetime import UTC

from exporter.upstream.http import Response

# The least that is worth a word, in seconds. Below it are slow answers and clocks that are good enough.
ALARMING_SKEW = 60.0


def clock_skew(response: Response) -> float | None:
    """How far our clock is ahead of the server's, in seconds, by the answer's Date header; None if it has none."""
    try:
        moment = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
        # HTTP dates are in GMT; one that does not say so would be taken for this machine's local time.
        return response.received - moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
