"""How the values of a configuration must fit each other.

These checks read the tree, not the validated sections: a wrong value somewhere must not hide a mistake elsewhere.
What has the wrong shape is skipped here, for `schema` reports it.
"""

from collections.abc import Hashable, Iterator
from typing import TypeVar

from exporter.config.durations import parse_duration
from exporter.config.model import PollSettings
from exporter.config.tree import Items, Keys, Node, Path, Place, Report, Scalar, Text, shown

_K = TypeVar("_K", bound=Hashable)
# Keys of which only one may be given. The reference in the documentation names them from here.
TOKEN_OF_REGION = ("token", "token_file", "account")
TOKEN_OF_PROJECT = ("token", "token_file", "iam")
PASSWORD = ("password", "password_file")
ACCESS_KEY = ("access_key", "access_key_file")
SECRET_KEY = ("secret_key", "secret_key_file")
# The two ways to log in, of which only one may be begun.
KEY_LOGIN = (*ACCESS_KEY, *SECRET_KEY, "token_url")
PASSWORD_LOGIN = (*PASSWORD, "org_id", "url")


def check(root: Keys, report: Report) -> None:
    """Report every pair of values in `root` that cannot go together."""
    if all(_is_empty(root, key) for key in ("clusters", "octopus", "accounts")):
        report.add(root.place, (), "there is nothing to poll: give at least one of clusters, octopus and accounts")
    accounts = list(_mappings(root, (), "accounts"))
    _check_names(accounts, report)
    # The two share the label source of the exporter's own metrics.
    _check_names([*_mappings(root, (), "clusters"), *_mappings(root, (), "octopus")], report)
    _check_poll(root, root, (), report)
    names = _account_names(root)
    for path, account in accounts:
        _check_account(account, path, report)
    for path, cluster in _mappings(root, (), "clusters"):
        _check_cluster(cluster, path, root, names, report)
    for path, project in _mappings(root, (), "octopus"):
        _check_project(project, path, root, report)


def _account_names(root: Keys) -> set[str] | None:
    """Return the accounts' names, or None while one of them cannot be read: it may be the one that is missed."""
    if _is_empty(root, "accounts"):
        return set()
    names = [account.text("name") for _, account in _mappings(root, (), "accounts")]
    readable = [str(name) for name in names if name]
    return set(readable) if readable and len(readable) == len(_items(root, (), "accounts")) else None


def _is_empty(root: Keys, key: str) -> bool:
    entry = root.given(key)
    return entry is None or (isinstance(entry.node, Items) and not entry.node.items)


def _check_cluster(cluster: Keys, path: Path, root: Keys, accounts: set[str] | None, report: Report) -> None:
    check_one_of(cluster, path, TOKEN_OF_REGION, report)
    _check_account_known(cluster, path, accounts, report)
    _check_poll(cluster, root, path, report)
    _check_collect(cluster, path, report)
    _check_users(cluster, path, report)
    _check_members(cluster, path, report)
    for user_path, user in _mappings(cluster, path, "users"):
        check_one_of(user, user_path, TOKEN_OF_REGION, report, needed=False)
        _check_account_known(user, user_path, accounts, report)


def _check_project(project: Keys, path: Path, root: Keys, report: Report) -> None:
    check_one_of(project, path, TOKEN_OF_PROJECT, report)
    _check_poll(project, root, path, report)
    iam = project.given("iam")
    if iam and isinstance(iam.node, Keys):
        check_one_of(iam.node, (*path, "iam"), PASSWORD, report)
    first: dict[tuple[Text | None, ...], Place] = {}
    for queue_path, queue in _mappings(project, path, "queues"):
        if queue.text("cluster_type") == "MODELARTS" and not queue.given("cluster_id"):
            report.add(queue.place, queue_path, "cluster_id is missing: cluster_type MODELARTS needs it")
        key = tuple(queue.text(name) for name in ("queue_type", "cluster_type", "cluster_id"))
        _check_first(first, key, queue.place, queue_path, subject="this queue", report=report)


def _check_account(account: Keys, path: Path, report: Report) -> None:
    by_key = [key for key in KEY_LOGIN if account.given(key)]
    by_password = [key for key in PASSWORD_LOGIN if account.given(key)]
    if by_key and by_password:
        place = account.entries[by_password[0]].key_place
        report.add(
            place, (*path, by_password[0]), f"does not go with {by_key[0]}: log in with a key or with a password"
        )
    elif by_password:
        check_one_of(account, path, PASSWORD, report)
        for key in ("org_id", "url"):
            if not account.given(key):
                report.add(account.place, path, f"{key} is missing: a login with a password needs it")
    elif by_key:
        check_one_of(account, path, ACCESS_KEY, report)
        check_one_of(account, path, SECRET_KEY, report)
    else:
        report.add(account.place, path, "needs access_key and secret_key, or password, org_id and url")


def check_one_of(keys: Keys, path: Path, names: tuple[str, ...], report: Report, *, needed: bool = True) -> None:
    """Report where more than one of `names` is given, or none though one is needed."""
    given = [name for name in names if keys.given(name)]
    if needed and not given:
        report.add(keys.place, path, f"one of {', '.join(names)} is missing")
    for name in given[1:]:
        place = keys.entries[name].key_place
        report.add(place, (*path, name), f"does not go with {given[0]}: give only one of {', '.join(names)}")


def _check_account_known(keys: Keys, path: Path, accounts: set[str] | None, report: Report) -> None:
    name = keys.text("account")
    if name and accounts is not None and name not in accounts:
        place = keys.entries["account"].node.place
        report.add(place, (*path, "account"), f"there is no account {shown(name)}: add it under accounts")


def _check_poll(keys: Keys, root: Keys, path: Path, report: Report) -> None:
    own, general = _poll(keys), _poll(root)
    interval = _seconds(own, "interval") or _seconds(general, "interval") or PollSettings().interval
    stale_after = _seconds(own, "stale_after") or _seconds(general, "stale_after")
    culprit = next((key for key in ("stale_after", "interval") if own and own.given(key)), None)
    if own and culprit and stale_after and stale_after < interval:
        message = "stale_after is shorter than the interval: data would be gone before the next poll"
        report.add(own.entries[culprit].node.place, (*path, "poll", culprit), message)


def _poll(keys: Keys) -> Keys | None:
    entry = keys.given("poll")
    return entry.node if entry and isinstance(entry.node, Keys) else None


def _seconds(poll: Keys | None, key: str) -> float | None:
    text = poll.text(key) if poll else None
    try:
        return parse_duration(text) if text else None
    except ValueError:
        return None


def _check_collect(cluster: Keys, path: Path, report: Report) -> None:
    first: dict[Text, Place] = {}
    for item_path, item in _items(cluster, path, "collect"):
        if isinstance(item, Scalar) and item.text:
            _check_first(first, item.text, item.place, item_path, subject=shown(item.text), report=report)


def _check_users(cluster: Keys, path: Path, report: Report) -> None:
    first: dict[Text, Place] = {}
    for item_path, item in _items(cluster, path, "users"):
        name = item.text("name") if isinstance(item, Keys) else item.text if isinstance(item, Scalar) else None
        if name:
            _check_first(first, name, item.place, item_path, subject=f"user {shown(name)}", report=report)


def _check_members(cluster: Keys, path: Path, report: Report) -> None:
    by_user: dict[tuple[Text, Text], Place] = {}
    by_label: dict[Text, tuple[Text, Place]] = {}
    by_id: dict[Text, tuple[Text, Place]] = {}
    for member_path, member in _mappings(cluster, path, "members"):
        group_id = member.text("group_id")
        if not group_id:
            continue
        for item_path, item in _items(member, member_path, "users"):
            if isinstance(item, Scalar) and item.text:
                subject = f"user {shown(item.text)} of group {shown(group_id)}"
                _check_first(by_user, (group_id, item.text), item.place, item_path, subject=subject, report=report)
        label = member.text("group") or group_id
        place = member.entries["group" if member.text("group") else "group_id"].node.place
        other_id, other = by_label.setdefault(label, (group_id, place))
        if other_id != group_id:
            message = (
                f"the group_id on line {other.line} has the same label group {shown(label)}: the series of the two groups"
                " would be the same; give them different labels"
            )
            report.add(place, (*member_path, "group"), message)
        other_label, other = by_id.setdefault(group_id, (label, place))
        if other_label != label:
            message = f"group_id {shown(group_id)} has another label on line {other.line}: give it one label"
            report.add(place, (*member_path, "group"), message)


def _check_names(parts: list[tuple[Path, Keys]], report: Report) -> None:
    first: dict[Text, Place] = {}
    for path, part in parts:
        name = part.text("name")
        if name:
            place = part.entries["name"].node.place
            _check_first(first, name, place, (*path, "name"), subject=f"the name {shown(name)}", report=report)


def _check_first(first: dict[_K, Place], key: _K, place: Place, path: Path, *, subject: str, report: Report) -> None:
    if key in first:
        report.add(place, path, f"{subject} is given twice; the first one is on line {first[key].line}")
    else:
        first[key] = place


def _items(keys: Keys, path: Path, key: str) -> list[tuple[Path, Node]]:
    entry = keys.given(key)
    items = entry.node.items if entry and isinstance(entry.node, Items) else ()
    return [((*path, key, index), item) for index, item in enumerate(items)]


def _mappings(keys: Keys, path: Path, key: str) -> Iterator[tuple[Path, Keys]]:
    for item_path, item in _items(keys, path, key):
        if isinstance(item, Keys):
            yield item_path, item
