"""The text of a configuration from the findings of `discover`, which may be hostile to YAML."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import yaml
from pydantic import ValidationError

from exporter.app.membership import member_sections
from exporter.app.poll_once import Trial
from exporter.config import Account, Cluster, Tls
from exporter.config.model import platform_url
from exporter.sources.collector import collectors_of, subjects_of
from exporter.sources.scnet.discovery import Found
from exporter.text import escaped, on_one_line


@dataclass(frozen=True, slots=True)
class Known:
    """An account, and the lines with which a configuration refers to its secrets."""

    account: Account
    references: tuple[str, ...]


def reason_of(error: ValidationError) -> str:
    """Return the first problem, without the value: that may be hostile, or a secret."""
    return error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")


def checked_region(region: Found, account: Account) -> Found:
    """Return the region as it is, or without its address where a configuration would not be accepted with it."""
    if not region.hpc_url:
        return region
    try:
        Cluster.model_validate(_values(region, slug(region.name or region.cluster_id, set()), account))
    except ValidationError as error:
        key = error.errors(include_url=False, include_input=False)[0]["loc"][0]
        return replace(region, hpc_url="", problem=f"what it says of itself cannot be used: {key} {reason_of(error)}")
    return region


def _values(region: Found, name: str, account: Account) -> dict[str, object]:
    users = {"users": [region.user]} if region.user else {}
    urls = {"hpc_url": region.hpc_url, "ac_url": account.url}
    return {"name": name, "cluster_id": region.cluster_id, **urls, "account": account.name, **users}


@dataclass(frozen=True, slots=True)
class Section:
    """A region as the configuration will have it: `cluster` without a `collect`.

    `left_out` says why groups or members are missing.
    """

    region: Found
    cluster: Cluster
    left_out: tuple[str, ...] = ()


def sections_of(found: Iterable[Found], account: Account) -> list[Section]:
    """Return a section for each region that has an address. Each of them was accepted by `checked_region`."""
    taken: set[str] = set()
    return [
        _section(region, slug(region.name or region.cluster_id, taken), account) for region in found if region.hpc_url
    ]


def _section(region: Found, name: str, account: Account) -> Section:
    left_out: list[str] = []
    members = {"members": list(member_sections(region.groups, left_out))}
    cluster = Cluster.model_validate(_values(region, name, account) | members).model_copy(update={"tls": account.tls})
    return Section(region, cluster, tuple(left_out))


def configuration(
    known: Known,
    found: Iterable[Found],
    sections: Sequence[Section],
    trials: Mapping[str, Trial],
    groups_problem: str = "",
) -> Iterable[str]:
    """Yield the lines of a configuration with every region that can be polled, and comments about the others.

    `collect` is left out where there are no `trials`.
    """
    account = known.account
    yield f"# Written by hpc-exporter discover on {datetime.now(UTC):%Y-%m-%d}."
    yield "# Try it: hpc-exporter check --online --config.file=FILE, then hpc-exporter --config.file=FILE"
    yield "accounts:"
    yield f"  - name: {quoted(account.name)}"
    yield f"    user: {quoted(account.user)}"
    yield from (f"    {line}" for line in known.references)
    if account.password is None:
        yield f"    token_url: {quoted(account.token_url)}"
    else:
        yield f"    org_id: {quoted(account.org_id or '')}"
    if account.password is not None or account.url != platform_url(account.token_url):
        yield f"    url: {quoted(account.url)}"
    yield from _tls_lines(account.tls)
    if account.name in trials:
        yield from _collect_lines(trials[account.name], members=False)
    if sections:
        yield "clusters:"
    for section in sections:
        yield from _region_lines(section, trials.get(section.cluster.name), groups_problem)
    for region in found:
        if not region.hpc_url:
            yield f"# Left out: {on_one_line(region.name)} (cluster_id {on_one_line(region.cluster_id)}): {on_one_line(region.problem)}"


def _region_lines(section: Section, trial: Trial | None, groups_problem: str) -> Iterable[str]:
    region, cluster = section.region, section.cluster
    yield f"  # {on_one_line(region.name)}; its name is the label hpc_cluster: change it to your liking"
    yield f"  - name: {quoted(cluster.name)}"
    yield f"    cluster_id: {quoted(cluster.cluster_id)}"
    yield f"    hpc_url: {quoted(cluster.hpc_url)}"
    yield f"    ac_url: {quoted(cluster.ac_url)}"
    yield f"    account: {quoted(cluster.account or '')}"
    yield from _tls_lines(cluster.tls)
    for scheduler in region.schedulers:
        yield f"    # scheduler {on_one_line(scheduler.id)}: {on_one_line(scheduler.name)} ({on_one_line(scheduler.type)})"
    if region.problem:
        yield f"    # {on_one_line(region.problem)}"
    if trial is not None:
        yield from _collect_lines(trial, members=bool(cluster.members))
    if cluster.users:
        yield f"    users: [{quoted(cluster.users[0].name)}]"
    yield from _group_lines(section, trial)
    for text in section.left_out:
        yield f"    # Left out: {on_one_line(text)}"
    if not cluster.members:
        why = f": {groups_problem}" if groups_problem else ""
        yield f"    # No group of this account was found here{on_one_line(why)}"
        yield "    # members:                      # to see the jobs of a group that you administer"
        yield "    #   - group_id: 533686286955839488"
        yield "    #     group: chemistry"
        yield "    #     users: [test, bob]"


def _collect_lines(trial: Trial, *, members: bool) -> Iterable[str]:
    chosen, instead = trial.chosen(members=members)
    if chosen:
        yield f"    collect: [{', '.join(each.name for each in chosen)}]"
    if instead:
        yield f"    # {' or '.join(each.name for each in instead)} would do in the place of the one that lists jobs"
    for each in collectors_of(trial.section):
        error = trial.problem(each)
        if error is not None:
            yield f"    # {each.name} did not answer: {on_one_line(str(error))}"


def _group_lines(section: Section, trial: Trial | None) -> Iterable[str]:
    if not section.cluster.members:
        return
    rejected = set(_rejected(section.cluster, trial)) if trial is not None else set()
    by_login = {(group.group_id, user) for group in section.region.groups for user in group.by_login}
    yield "    members:                          # `members: all` follows the groups by itself, `users: all` one of them"
    for member in section.cluster.members:
        users = [user for user in member.users if (member.group_id, user) not in rejected]
        # Where none of them answers, the list is not the reason.
        users = users or list(member.users)
        plain = member.group_id.isascii() and member.group_id.isdecimal()
        yield f"      - group_id: {member.group_id if plain else quoted(member.group_id)}"
        yield f"        group: {quoted(member.group)}"
        yield f"        users: [{', '.join(map(quoted, users))}]"
        for user in member.users:
            if user not in users:
                yield f"        # Left out: {on_one_line(user)}: the region does not list the jobs of this user"
        logins = [user for user in users if (member.group_id, user) in by_login]
        if logins:
            yield (
                "        # The platform names these by their logins only, which may not be scheduler users: "
                + on_one_line(", ".join(logins))
            )


def _rejected(cluster: Cluster, trial: Trial) -> Iterator[tuple[str, str]]:
    for collector, subject in subjects_of("clusters", cluster, every=True):
        if subject.group_id and trial.rejects(collector, subject):
            yield subject.group_id, subject.user


def _tls_lines(tls: Tls) -> Iterable[str]:
    settings = [f"ca_file: {quoted(str(tls.ca_file.absolute()))}"] if tls.ca_file is not None else []
    if tls.insecure_skip_verify:
        settings.append("insecure_skip_verify: true")
    if settings:
        yield f"    tls: {{{', '.join(settings)}}}"


def quoted(text: str) -> str:
    """Return a YAML scalar on one line; `$${` stands for a literal `${`."""
    literal = text.replace("${", "$${")
    dumped = yaml.safe_dump(literal, default_style='"', allow_unicode=True, width=math.inf).strip()
    # PyYAML does not escape direction marks; these escapes are valid YAML, too.
    return escaped(dumped)


def slug(text: str, taken: set[str]) -> str:
    """Return a short name for a label, not in `taken`, to which it is added. Chinese names stay as they are."""
    base = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "region"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name
