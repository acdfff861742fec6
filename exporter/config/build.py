"""Turns what was written, once it is known to be right, into the configuration that the rooms see."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from exporter.config.model import (
    TOKEN_URL,
    Account,
    Cluster,
    Config,
    Iam,
    Member,
    OctopusProject,
    OctopusQueue,
    PerJob,
    PollSettings,
    Tls,
    Tracking,
    User,
)
from exporter.config.schema import (
    AccountSection,
    ClusterSection,
    Document,
    IamSection,
    MemberSection,
    OctopusQueueSection,
    OctopusSection,
    PollSection,
    UserSection,
    is_private,
)
from exporter.config.tree import Keys, Path, Report, dotted, find
from exporter.config.values import Section
from exporter.sources.collector import collected_by_default, collectors_of


def build(document: Document, root: Keys, report: Report) -> Config:
    """Return the configuration; `root` gives the parts their places, `report` the file's name."""
    return _Builder(document, root, report).config()


class _Builder:
    def __init__(self, document: Document, root: Keys, report: Report) -> None:
        self._document = document
        self._root = root
        self._report = report
        self._warnings: list[tuple[Path, str]] = []

    def config(self) -> Config:
        document = self._document
        return Config(
            poll=_settings(document.poll),
            accounts=tuple(
                self._account(section, ("accounts", i)) for i, section in enumerate(document.accounts or ())
            ),
            clusters=tuple(
                self._cluster(section, ("clusters", i)) for i, section in enumerate(document.clusters or ())
            ),
            octopus=tuple(self._project(section, ("octopus", i)) for i, section in enumerate(document.octopus or ())),
            tracking=Tracking(**_given(document.tracking)),
            per_job=PerJob(**_given(document.per_job)),
            warnings=self._sorted_warnings(),
        )

    def _account(self, section: AccountSection, path: Path) -> Account:
        self._warn_if_plain(section.token_url, (*path, "token_url"))
        self._warn_if_plain(section.url, (*path, "url"))
        return Account(
            name=section.name,
            user=section.user,
            access_key=section.access_key or section.access_key_file,
            secret_key=section.secret_key or section.secret_key_file,
            token_url=section.token_url or TOKEN_URL,
            password=section.password or section.password_file,
            org_id=section.org_id,
            url=section.url,
            tls=self._tls(section, path),
            place=self._place(path),
        )

    def _cluster(self, section: ClusterSection, path: Path) -> Cluster:
        self._warn_if_plain(section.hpc_url, (*path, "hpc_url"))
        self._warn_if_plain(section.ac_url, (*path, "ac_url"))
        self._warn_if_not_collected(section, path)
        return Cluster(
            name=section.name,
            cluster_id=section.cluster_id,
            hpc_url=section.hpc_url,
            ac_url=section.ac_url or section.hpc_url,
            credential=section.token or section.token_file,
            account=section.account,
            requests_per_second=section.requests_per_second,
            tls=self._tls(section, path),
            collect=collected_by_default("clusters") if section.collect is None else section.collect,
            poll=_settings(self._document.poll, section.poll),
            users=self._users(section, path),
            members=tuple(
                self._member(member, (*path, "members", i)) for i, member in enumerate(section.members or ())
            ),
            place=self._place(path),
        )

    def _users(self, section: ClusterSection, path: Path) -> tuple[User, ...] | None:
        if section.users is None:
            return None
        return tuple(self._user(user, (*path, "users", i)) for i, user in enumerate(section.users))

    def _user(self, section: UserSection, path: Path) -> User:
        credential = section.token or section.token_file
        return User(name=section.name, credential=credential, account=section.account, place=self._place(path))

    def _member(self, section: MemberSection, path: Path) -> Member:
        group = section.group or section.group_id
        return Member(group_id=section.group_id, group=group, users=section.users, place=self._place(path))

    def _project(self, section: OctopusSection, path: Path) -> OctopusProject:
        self._warn_if_plain(section.base_url, (*path, "base_url"))
        return OctopusProject(
            name=section.name,
            base_url=section.base_url,
            project_id=section.project_id,
            credential=section.token or section.token_file,
            iam=self._iam(section.iam, (*path, "iam")) if section.iam else None,
            queues=self._queues(section.queues, path),
            requests_per_second=section.requests_per_second,
            tls=self._tls(section, path),
            poll=_settings(self._document.poll, section.poll),
            place=self._place(path),
        )

    def _iam(self, section: IamSection, path: Path) -> Iam:
        self._warn_if_plain(section.url, (*path, "url"))
        given = _given(section)
        given["password"] = given.pop("password_file", None) or given.get("password")
        return Iam(**given)

    def _queues(self, sections: Sequence[OctopusQueueSection], path: Path) -> tuple[OctopusQueue, ...]:
        types = Counter(section.queue_type for section in sections)
        return tuple(
            OctopusQueue(
                **_given(section),
                target=_target_of(section, alone=types[section.queue_type] == 1),
                place=self._place((*path, "queues", i)),
            )
            for i, section in enumerate(sections)
        )

    def _tls(self, section: AccountSection | ClusterSection | OctopusSection, path: Path) -> Tls:
        tls = Tls(**_given(section.tls))
        if tls.insecure_skip_verify:
            message = "certificates are not verified: whoever is in between can read the secrets; prefer ca_file"
            self._warnings.append(((*path, "tls", "insecure_skip_verify"), message))
        return tls

    def _warn_if_plain(self, url: str | None, path: Path) -> None:
        if url and not is_private(url):
            self._warnings.append((path, "http is not encrypted: whoever is in between can read the token; use https"))

    def _warn_if_not_collected(self, section: ClusterSection, path: Path) -> None:
        if section.collect is None:
            return
        if not section.collect:
            self._warnings.append(((*path, "collect"), "is empty: nothing is asked of this region"))
        wanted = {each.per.key for each in collectors_of("clusters") if each.name in section.collect}
        for each in collectors_of("clusters"):
            if each.default and each.per.key and getattr(section, each.per.key) and each.per.key not in wanted:
                self._warnings.append(((*path, each.per.key), f"is not used: collect leaves out {each.name}"))

    def _sorted_warnings(self) -> tuple[str, ...]:
        placed = sorted((find(self._root, path)[1].place, dotted(path), text) for path, text in self._warnings)
        return tuple(f"{self._report.where(place)}: {path}: {text}" for place, path, text in placed)

    def _place(self, path: Path) -> str:
        return self._report.where(find(self._root, path)[1].place)


def _target_of(queue: OctopusQueueSection, *, alone: bool) -> str:
    """The type of a queue, with the type and the id of the cluster where other queues are of the same type."""
    parts = (queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
    return "/".join(map(_escaped, parts[:1] if alone else parts)).rstrip("/")


def _escaped(part: str) -> str:
    """Without slashes, so that no two queues get one name."""
    return part.replace("%", "%25").replace("/", "%2F")


def _settings(*sections: PollSection | None) -> PollSettings:
    """Return the settings of the last section over those of the ones before."""
    merged: dict[str, Any] = {}
    for section in sections:
        merged |= _given(section)
    return PollSettings(**merged)


def _given(section: Section | None) -> dict[str, Any]:
    """Return what was written in `section`: the defaults of `model` stand for the rest."""
    return {key: value for key, value in section if value is not None} if section else {}
