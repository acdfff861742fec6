"""The Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date."""

import email.utils
import math
from datetime import UTC


def parse_retry_after(value: str | None, now: float) -> float | None:
    """The pause in seconds that `value` asks for, counted from `now` (unix time); None if it asks for nothing usable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # No upstream means a pause of more digits than this; int() of endless text would take long.
        return float(text) if len(text) <= 9 else math.inf  # noqa: PLR2004 - see above
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # HTTP dates are in GMT; one that does not say so would be taken for this machine's local time.
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None
