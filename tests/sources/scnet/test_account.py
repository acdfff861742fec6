"""Table: what the platform answers about an account -> samples."""

from typing import Any

import pytest

from tests.support.collecting import ACCOUNT, Answer, Expected, collecting, envelope


def user(balance: Any = "1049.88", status: Any = "Normal", **more: Any) -> Answer:
    """Return the answer about an account, with the names of persons that come along."""
    persons = {
        "accountName": "alice",
        "userName": "alice",
        "fullName": "王小明",
        "computerCenter": "昆山",
        "phone": "1",
    }
    return envelope({"accountStatus": status, "accountBalance": balance, **persons, **more})


BALANCES: dict[Any, float] = {"0.00": 0, "-12.5": -12.5, 7: 7, 7.5: 7.5, " 7.50 ": 7.5, "+3": 3, "1.": 1}
GOOD = {"balance_cny": 1049.88, "status Normal": 1}
UNKNOWN = (None, "", "--")
UNUSABLE: list[Any] = [None, "", "--", "1,049.88", "nan", "inf", "1e400", "9" * 40, 10**30, True, [], {}, "¥5", "五"]
CASES: dict[str, tuple[Answer, Expected, int]] = {
    "captured": (user(), GOOD, 0),
    **{
        f"balance {balance!r}": (user(balance), {"balance_cny": value, "status Normal": 1}, 0)
        for balance, value in BALANCES.items()
    },
    **{
        f"unusable balance {balance!r}": (user(balance), {"status Normal": 1}, int(balance not in UNKNOWN))
        for balance in UNUSABLE
    },
    "a number beyond all floats": (
        envelope(b'{"accountStatus": "Normal", "accountBalance": 1e999}'),
        {"status Normal": 1},
        1,
    ),
    **{
        f"status {status!r}": (user(status=status), {"balance_cny": 1049.88, f"status {shown}": 1}, 0)
        for status, shown in (("Trial", "Trial"), ("Owe", "Owe"), ("Disable", "Disable"), (" owe ", "Owe"))
    },
    "status that no page lists": (user(status="Frozen"), {"balance_cny": 1049.88, "status other": 1}, 1),
    "no status": (user(status=None), {"balance_cny": 1049.88}, 0),
    "status of another type": (user(status=[1]), {"balance_cny": 1049.88}, 1),
    "in a list": (envelope([{"accountBalance": "5"}]), {"balance_cny": 5}, 0),
    "in a list, twice and differently": (envelope([{"accountBalance": "5"}, {"accountBalance": "6"}]), {}, 1),
    "nothing of it": (envelope({}), {}, 0),
    "null": (envelope(None), {}, 0),
    "not there": (Answer(b"", 404), "http: HTTP 404: ", 0),
}


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_account(answer: Answer, expected: Expected, rejected: int) -> None:
    async with collecting(ACCOUNT, "account", "hpc_account_") as account:
        polled = await account.poll(answer)
    assert polled.outcome(expected) == (expected, rejected)
    assert polled.requests == ["/ac/openapi/v2/user"]
