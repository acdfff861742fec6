"""Resource specs: ``1Core_4GiB`` and what else is beyond doubt.

Source: the page 查询排队作业列表-QueryQueuedJobList, whose examples have this form and no other; it describes none.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

# GB is left out: the vendor's pages use it for powers of 1000 and of 1024.
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# At most 9 digits: no machine has more, and endless ones take long to read.
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_SPEC = re.compile(rf"{_NUMBER}Cores?_{_NUMBER}(KiB|MiB|GiB|TiB)")


class Resources(NamedTuple):
    """What a job asks for, exactly."""

    cpu_cores: Fraction
    memory_bytes: Fraction


@lru_cache(maxsize=4096)
def read_spec(spec: str) -> Resources | None:
    """The resources that `spec` names; None for a form that is not understood."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        return None
    cores, amount, unit = match.groups()
    return Resources(Fraction(cores), Fraction(amount) * BYTES[unit])
