"""The rows of the status page's lists: of members and of queues, and sums by person, group and region."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.app.joblist import FIRST_ORDER, ORDERS
from exporter.polling import STATES
from exporter.sources.collector import registry
from exporter.text import natural
from exporter.web.texts import AtLeast, number

JOBS: Final = ("running", "queued", "held", "suspended", "other")
IN_USE: Final = ("cpus", "gpus", "dcus")
NUMBERS: Final = frozenset((*JOBS, *IN_USE, "people"))
# The lists and their columns, by which a list can be sorted.
VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "members": ("user", "group", "source", "running", "queued", *IN_USE),
    "people": ("user", "regions", "running", "queued", *IN_USE),
    "groups": ("group", "regions", "people", "running", "queued", *IN_USE),
    "regions": ("source", "people", "running", "queued", *IN_USE),
    "queues": ("queue", "user", "source", *JOBS),
    "jobs": tuple(ORDERS),
    "targets": ("state", "source", "collector", "target", "last_success", "next_poll", "result"),
}
# Those that are made of the targets in the status.
OF_TARGETS: Final = {view: columns for view, columns in VIEWS.items() if view != "jobs"}
# Those of members, who may be known only from a list of all jobs.
OF_MEMBERS: Final = ("members", "people", "groups")
# The column by which the rows of members and queues are put together.
GROUPED: Final = {"people": "user", "groups": "group", "regions": "source"}
# The column that a list is sorted by until another one is chosen; "-" is descending.
FIRST_SORT: Final = {
    "targets": "state",
    "jobs": FIRST_ORDER,
    **dict.fromkeys(("members", *GROUPED, "queues"), "-running"),
}
_LISTING: Final = frozenset(each.name for each in registry().values() if each.lists_jobs)


def _giving(family: str) -> frozenset[str]:
    return frozenset(each.name for each in registry().values() if family in {of.name for of in each.families})


_COUNTING: Final = _giving("hpc_queue_jobs")
# Lists of jobs that name the queue of each.
_NAMING_QUEUES: Final = _giving("hpc_jobs")

# The values of a row by column, and those of its target.
Row = Mapping[str, Any]


def rows_of(view: str, targets: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of a list, not yet grouped: see `grouped`. ``key`` tells a row from all others of its list.

    A member without data is a row of unknown numbers, and so are the queues of a user without data. Where the members are
    known only from a list of all jobs, and there is none, there is one such row for the region.
    """
    if view == "targets":
        return [base_row(target) for target in targets]
    if view == "queues":
        return list(queue_rows(targets))
    members = [row for row in member_rows(targets) if view == "regions" or not is_unlisted(row)]
    if view in ("members", "groups"):
        return members
    # A user who is a member as well is counted once.
    listed = {(row["source"], row["user"]) for row in members}
    return members + [row for row in user_rows(targets) if (row["source"], row["user"]) not in listed]


def base_row(target: Mapping[str, Any]) -> dict[str, Any]:
    key = target["source"], target["collector"], target["target"]
    return {**target, "key": key, "result": target["last_error"]}


def member_rows(targets: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    for target in targets:
        if target["members"] is not None:
            yield from (listed_row(target, member) for member in target["members"])
        elif target["member"] or (target["collector"] in _LISTING and target["state"] != "absent"):
            group, _, user = target["target"].rpartition("/")
            numbers = {**target["member"]["jobs"], **target["member"]["in_use"]} if target["member"] else {}
            yield {**dict.fromkeys((*JOBS, *IN_USE)), **base_row(target), **numbers, "group": group, "user": user}


def is_unlisted(row: Row) -> bool:
    """Whether a row stands for members whose names are in a list that is not known."""
    return not (row["user"] or row["member"] or row["members"])


def unlisted(view: str, targets: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return rows that stand for the members or queues that are missing in a list because they are not known."""
    if view == "queues":
        return [
            {**base_row(target), **dict.fromkeys(JOBS), "user": ""}
            for target in targets
            if target["collector"] in _NAMING_QUEUES and target["members"] is None and target["state"] != "absent"
        ]
    return list(filter(is_unlisted, member_rows(targets))) if view in OF_MEMBERS else []


def listed_row(target: Mapping[str, Any], member: Mapping[str, Any]) -> Row:
    """Return the row of a member among those that a target lists."""
    row, names = base_row(target), {"group": member["group"], "user": member["user"]}
    return {**row, **member["jobs"], **member["in_use"], **names, "key": (*row["key"], *names.values())}


def user_rows(targets: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Yield a row for each user whose queues are counted."""
    for target in targets:
        if target["collector"] in _COUNTING and target["state"] != "absent":
            queues = target["queues"]
            counts = {name: None if queues is None else added(queue[name] for queue in queues) for name in JOBS}
            yield {**base_row(target), **counts, **dict.fromkeys(IN_USE), "group": "", "user": target["target"]}


def queue_rows(targets: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    targets = list(targets)
    # A user whose queues are counted is in a list of jobs as well.
    counted = {(target["source"], target["target"]) for target in targets if target["queues"]}
    for target in targets:
        row, name = base_row(target), target["target"]
        if target["tasks"]:
            unknown = dict.fromkeys(JOBS)
            yield {**row, **unknown, "queued": target["tasks"]["length"], "user": "", "queue": name}
        if target["collector"] in _COUNTING and target["queues"] is None and target["state"] != "absent":
            yield {**row, **dict.fromkeys(JOBS), "user": name, "queue": ""}
        for queue in target["queues"] or ():
            yield {**row, **queue, "user": name, "key": (*row["key"], queue["queue"])}
        for member in target["members"] or ():
            if (target["source"], member["user"]) not in counted:
                for queue in member["queues"]:
                    user = member["user"]
                    yield {**row, **queue, "user": user, "key": (*row["key"], member["group"], user, queue["queue"])}


def grouped(view: str, rows: Sequence[Row]) -> list[Row]:
    """Return a list's rows, those of a view that adds up put together."""
    if view not in GROUPED:
        return list(rows)
    column = GROUPED[view]
    parts: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row[column]].append(row)
    return [put_together(column, name, of_name) for name, of_name in parts.items()]


def put_together(column: str, name: str, rows: Sequence[Row]) -> Row:
    worst = min(rows, key=lambda row: STATES.index(row["state"]))
    regions = list(dict.fromkeys(row["source"] for row in rows))
    return {**worst, **totals(rows), "key": (column, name), "regions": ", ".join(regions), "source": regions[0]}


def totals(rows: Sequence[Row]) -> dict[str, int | None]:
    """Return the sums of the columns of numbers."""
    sums: dict[str, int | None] = {name: added(row[name] for row in rows) for name in JOBS}
    return sums | {
        **{name: added(row.get(name) for row in rows) for name in IN_USE},
        "people": len({row["user"] for row in rows if row["user"]}),
    }


def added(numbers: Iterable[int | None]) -> int | None:
    """Return the sum, `AtLeast` what is known of it; None where nothing is."""
    all_numbers = list(numbers)
    known = [each for each in all_numbers if each is not None]
    if len(known) == len(all_numbers) and not any(isinstance(each, AtLeast) for each in known):
        return sum(known)
    return AtLeast(sum(known)) if known else None


def sizes(targets: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of rows of each list."""
    found = {view: rows_of(view, targets) for view in OF_TARGETS}
    return {
        view: len({row[GROUPED[view]] for row in rows} if view in GROUPED else rows) for view, rows in found.items()
    }


def sort_key(column: str, row: Row) -> Any:
    """Unknown numbers and moments come before all others; user2 comes before user10."""
    value = row[column]
    if column == "state":
        return STATES.index(value)
    if column in NUMBERS:
        return -1 if value is None else value
    if column == "result":
        return (0, value["reason"], value["message"]) if value else (1, "", "")
    return natural(value or "")


def value_texts(row: Row) -> Iterator[str]:
    """Yield the values of a target, each with the labels that do not merely say which target it is."""
    values = row["values"] or ()
    families = {value["family"] for value in values}
    shared = os.path.commonprefix([*families]).rpartition("_")[0]  # noqa: RUF071 - names are no paths
    for value in values:
        labels = list(value["labels"].values())
        for own in (row["source"], *row["target"].split("/")):
            if labels[:1] == [own]:
                del labels[0]
        family = value["family"].removeprefix(shared).strip("_").replace("_", " ") if len(families) > 1 else ""
        # The value of an info metric is always 1.
        amount = "" if value["family"].endswith("_info") else number(value["value"])
        yield " ".join(filter(None, (family, *labels, amount)))
