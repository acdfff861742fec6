"""JSON that can be looked at in a terminal."""

import json

from exporter.cli import schemas

NAME = "job \u009b31m \u202e \x1b[2J 分子动力学"


def test_what_steers_a_terminal_is_escaped_in_json() -> None:
    member = schemas.UnreadMember(cluster=NAME, group="g", user="u", unreadable_records=None, error=None)
    found = schemas.Jobs(time="2026-11-29T00:00:00Z", ok=True, jobs=[], unread_members=[member])
    text = schemas.encoded(found)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "分子动力学" in text
    assert json.loads(text)["unread_members"][0]["cluster"] == NAME
