"""The truth of a simulation: tokens, jobs, and what was answered."""

import base64
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import count
from typing import Any, Final, NamedTuple

from exporter.polling import TargetKey
from tests.chaos.network import Answer, Mood, Request
from tests.e2e.region import GROUP_ID, envelope, job, queue

PLATFORM: Final = "10.0.0.9"
# The cluster id of the platform's own row in the answer to a login.
OWN_ROW: Final = "0"
REGIONS: Final = {"kunshan": ("10.0.0.1", "11112"), "hefei": ("10.0.0.2", "11250")}
NAMES: Final = {host: name for name, (host, _) in REGIONS.items()} | {PLATFORM: ""}
USERS: Final = ("ada", "bob")
# The region and the member that are configured all the time.
ALWAYS: Final = ("kunshan", "ada")
GROUP: Final = "chemistry"
SCHEDULER: Final = 1638523853
# Of a page of the history, at most.
LARGEST_PAGE: Final = 3
NONSENSE: Final = (
    Answer(b"oops", 500),
    Answer(b"busy", 503, {"Retry-After": "5"}),
    Answer(b"slowly", 429, {"Retry-After": "20"}),
    Answer(b"<html>maintenance</html>"),
    Answer(b'{"code": "0", "data": [{"value'),
    Answer(b'{"code": "0", "data": [{"neither": "id nor name"}]}'),
    Answer(b'{"code": "10001", "msg": "internal error", "data": []}'),
    Answer(b'{"code": "10004", "msg": "a parameter is invalid", "data": null}'),
    Answer(b"", 204),
    Answer(b"", 302, {"Location": "http://10.0.0.77/"}),
)
DENIED: Final = (
    Answer(envelope(None, "10008", "no permission")),
    Answer(b"", 401),
    Answer(envelope(None, "911406", "token not accepted"), 403),
)


class SimJob(NamedTuple):
    """A job by the seconds of the simulation; `started` is `ended` where it was deleted while it waited."""

    id: str
    submitted: float
    started: float
    ended: float
    outcome: str
    # Seconds for which it stays listed after its end, and until its row in the history.
    listed: float
    lag: float


@dataclass(frozen=True)
class Shown:
    """The samples of a good answer by series, and when it had arrived."""

    at: float
    samples: Mapping[str, float]


class Platform:
    """Two regions and the host of their logins; `now` is their clock, `passed` the seconds of the simulation."""

    def __init__(self, rng: random.Random, horizon: float, start: float) -> None:
        self.rng = rng
        self.moods: dict[str, Mood] = {}
        self.jobs = {(region, user): self._plan(region, user, horizon) for region in REGIONS for user in USERS}
        self.arrived: defaultdict[TargetKey, list[Shown]] = defaultdict(list)
        # Lists of members' jobs that have arrived.
        self.answers = 0
        self.problems: list[str] = []
        self.passed: Callable[[], float]
        self.lifetime = rng.choice((90.0, 600.0, 86_400.0))
        # Whether the list of live jobs has those of the groups, or is refused but for the user's own.
        self.lists_groups = rng.random() < 0.6
        self._start = start
        self._logins = Counter[str]()
        self._serials = count(1)
        self._numbers: dict[tuple[str, str], int] = {}
        # Until when each token is good, and of what it is one.
        self._tokens: dict[str, tuple[float, str]] = {}

    def _plan(self, region: str, user: str, horizon: float) -> list[SimJob]:
        rng, jobs = self.rng, []
        for number in range(rng.randrange(7)):
            submitted = rng.uniform(-horizon / 2, horizon)
            started = submitted + rng.expovariate(1 / 30)
            ended = max(1.0, started + rng.choice((0.0, 1.0, rng.expovariate(1 / 60), rng.expovariate(1 / 60))))
            # None long after everything else: the end of a simulation waits for it.
            submitted, started, ended = (min(moment, horizon) for moment in (submitted, started, ended))
            outcome = "statDE" if ended == started else rng.choice(("statC", "statF"))
            listed = rng.choice((0.0, 0.0, rng.uniform(0, 20)))
            ident = f"{1000 * list(REGIONS).index(region) + 100 * USERS.index(user) + number}"
            jobs.append(SimJob(ident, submitted, started, ended, outcome, listed, rng.uniform(0, 10)))
        return jobs

    def now(self) -> float:
        return self._start + self.passed()

    def ended(self, region: str, user: str) -> int:
        """Return the number of jobs that are over."""
        return sum(each.ended <= self.passed() for each in self.jobs[region, user])

    @property
    def logging_in(self) -> bool:
        """Whether a login is under way."""
        return any(self._logins.values())

    def revoke(self) -> None:
        """Let all tokens be expired."""
        self._tokens.clear()

    def answer(self, request: Request) -> Answer:
        """Return the answer that the mood of the host lets through."""
        answer, mood = self._truth(request), self.moods[request.host]
        if self.rng.random() < mood.nonsense:
            return self._instead(answer, self.rng.choice(NONSENSE))
        if self.rng.random() < mood.deny:
            return self._instead(answer, self.rng.choice(DENIED))
        return answer

    def _instead(self, true: Answer, wrong: Answer) -> Answer:
        return Answer(wrong.body, wrong.status, wrong.headers, over=true.over)

    def _truth(self, request: Request) -> Answer:
        if request.host == PLATFORM and request.path == "/tokens":
            return self._login(request)
        region, token = NAMES[request.host], request.headers.get("token", "")
        until, of = self._tokens.get(token, (0.0, ""))
        return self._list(request, region) if of == region and self.now() < until else self.rng.choice(DENIED)

    def _list(self, request: Request, region: str) -> Answer:
        lists: dict[str, Callable[[], Answer]] = {
            "/view/queue/jobs": lambda: self._queues(region, request.query["userName"]),
            "/historyjobs": lambda: self._history(region, request.query),
            "/v2/cluster": lambda: good([{"id": SCHEDULER, "text": "Cluster", "JobManagerType": "SLURM"}]),
            "/tokens/next": lambda: good(self._issue(region)),
            "/groupmembers": self._groups,
            "/monitor/page-list": lambda: self._live(json.loads(request.body)),
            "/jobs": lambda: self._members(region, request.path.split("/")[-2]),
        }
        return next(answer for end, answer in lists.items() if request.path.endswith(end))()

    # Tokens.

    def _login(self, request: Request) -> Answer:
        account = request.headers["user"]
        self._logins[account] += 1
        if self._logins[account] > 1:
            self.problems.append(f"{self._logins[account]} logins of account {account} at a time")
        rows = [{"clusterId": REGIONS[name][1], "clusterName": name, "token": self._issue(name)} for name in REGIONS]
        answer = good([*rows, {"clusterId": OWN_ROW, "clusterName": "ac", "token": self._issue("")}])
        answer.headers = {"Date": formatdate(self.now(), usegmt=True)}
        answer.over = lambda: self._logins.subtract([account])
        return answer

    def _issue(self, region: str) -> str:
        until = self.now() + self.lifetime
        claims = {"computeUser": USERS[0], "expireTime": str(int(1000 * until)), "serial": str(next(self._serials))}
        token = f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2lnbmF0dXJl"
        self._tokens[token] = until, region
        return token

    # Lists.

    def _arrive(self, answer: Answer, key: TargetKey, samples: Mapping[str, float]) -> Answer:
        def arrived() -> None:
            self.arrived[key].append(Shown(self.passed(), samples))
            self.answers += key.collector in ("member_jobs", "live_jobs")

            earlier()

        earlier, answer.arrived = answer.arrived, arrived
        return answer

    def _queues(self, region: str, user: str) -> Answer:
        """Say what no answer did before, or the same as the last."""
        number = self._numbers.get((region, user), 0)
        if self.rng.random() < 0.5:
            number = self._numbers[region, user] = next(self._serials) if self.rng.random() < 0.9 else 0
        answer = good([queue("debug", R=number, Q=2)] if number else None)
        series = f'hpc_queue_jobs{{hpc_cluster="{region}",user="{user}",queue="debug",state='
        samples = {f'{series}"running"}}': float(number), f'{series}"queued"}}': 2.0 if number else 0.0}
        return self._arrive(answer, TargetKey(region, "queue_jobs", user), samples)

    def _listed(self, region: str, user: str) -> list[tuple[SimJob, str]]:
        """Return the jobs that a list has now, with their states."""
        now = self.passed()
        return [
            (each, "statQ" if now < each.started else "statR" if now < each.ended else each.outcome)
            for each in self.jobs[region, user]
            if each.submitted <= now < each.ended + each.listed
        ]

    def _members(self, region: str, user: str) -> Answer:
        listed = self._listed(region, user)
        rows = [job(each.id, status=state) for each, state in listed]
        if rows and self.rng.random() < 0.1:
            rows.append({"name": "without an id"})
        key = TargetKey(region, "member_jobs", f"{GROUP}/{user}")
        return self._arrive(good(rows), key, member_samples(region, user, listed))

    def _groups(self) -> Answer:
        infos = [{"userName": f"login of {user}", "clusterUserName": user} for user in USERS]
        row = {"groupId": GROUP_ID, "groupDisplayName": GROUP, "clusterId": REGIONS["hefei"][1]}
        return good([{**row, **infos[0], "groupUsersInfos": infos}])

    def _live(self, wanted: Mapping[str, Any]) -> Answer:
        """Return the jobs of all regions, of the token's user alone where those of groups are refused."""
        if wanted["showGroupJobs"] and not self.lists_groups:
            return DENIED[0]
        users = USERS if wanted["showGroupJobs"] else USERS[:1]
        rows, samples = list[dict[str, Any]](), dict[str, float]()
        for region, (_, cluster_id) in REGIONS.items():
            for user in users:
                listed = self._listed(region, user)
                samples |= member_samples(region, user, listed)
                rows += [self._live_row(each, state, cluster_id, user) for each, state in listed]
        answer = good({"total": len(rows), "list": rows if wanted["page"] == 1 else []})
        for region in REGIONS.keys() - {ALWAYS[0]}:
            here = {series: value for series, value in samples.items() if f'"{region}"' in series}
            answer = self._arrive(answer, TargetKey(region, "live_jobs", ""), here)
        return answer

    def _live_row(self, each: SimJob, state: str, cluster_id: str, user: str) -> dict[str, Any]:
        ended = state not in ("statQ", "statR")
        return {
            "clusterId": cluster_id,
            "clusterUserName": user,
            "jobManagerId": str(SCHEDULER),
            "jobId": each.id,
            "jobState": state,
            "queue": "debug",
            "jobQueueTime": written(self._start + each.submitted),
            "jobStartTime": written(self._start + each.started)
            if state != "statQ" and each.started < each.ended
            else "",
            **({"etime": written(self._start + each.ended)} if ended else {}),
            "procNumUsed": 2,
        }

    def _history(self, region: str, query: Mapping[str, str]) -> Answer:
        since, until = (moment_of(query[name]) - self._start for name in ("startTime", "endTime"))
        rows = [
            {
                "jobId": each.id,
                "clusterUserName": user,
                "queue": "debug",
                "jobState": each.outcome,
                "jobQueueTime": written(self._start + each.submitted),
                "jobStartTime": written(self._start + each.started) if each.started < each.ended else None,
                "jobEndTime": written(self._start + each.ended),
                "procNumUsed": 2,
            }
            for user in USERS
            for each in self.jobs[region, user]
            if since <= int(each.ended) <= until and each.ended + each.lag <= self.passed()
        ]
        start = int(query["start"])
        return good({"total": len(rows), "list": rows[start : start + min(int(query["limit"]), LARGEST_PAGE)]})


def member_samples(region: str, user: str, listed: Iterable[tuple[SimJob, str]]) -> dict[str, float]:
    states = Counter(state for _, state in listed)
    series = f'hpc_member_jobs{{hpc_cluster="{region}",group="{GROUP}",user="{user}",state='
    return {f'{series}"running"}}': float(states["statR"]), f'{series}"queued"}}': float(states["statQ"])}


def good(data: Any) -> Answer:
    return Answer(envelope(data))


def written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment_of(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def poll_settings(rng: random.Random, interval: float) -> dict[str, Any]:
    interval *= rng.choice((1, 1.5))
    return {
        "interval": f"{interval:g}s",
        "stale_after": f"{interval * rng.choice((1, 3)):g}s",
        "timeout": f"{rng.choice((5, 10)):g}s",
        "retries": rng.choice((0, 1, 2)),
        "max_concurrency": rng.choice((1, 2, 16)),
    }


def configuration(
    rng: random.Random, *, history: bool, state: str, poll: Mapping[str, Any], share: float, live: bool
) -> str:
    """Return a configuration: the first region with its first member is in all of them, a share of the rest by luck.

    The members of the second region may be listed `live`, and left to the platform.
    """

    def some(users: tuple[str, ...]) -> list[str]:
        return [user for user in users if rng.random() < share]

    def region(name: str, *always: str) -> dict[str, Any]:
        others = tuple(user for user in USERS if user not in always)
        host, cluster_id = REGIONS[name]
        second = name != ALWAYS[0]
        collect = [
            "queue_jobs",
            "live_jobs" if second and live else "member_jobs",
            *(["job_history"] if history else []),
        ]
        with_account = [{"name": user, "account": "bob"} if user == "bob" else user for user in some(USERS)]
        members = (
            [{"group_id": GROUP_ID, "group": GROUP, "users": users}] if (users := [*always, *some(others)]) else []
        )
        return {
            "name": name,
            "cluster_id": cluster_id,
            "hpc_url": f"http://{host}",
            "account": "lab",
            "collect": collect,
            "users": with_account,
            "members": "all" if second and rng.random() < 0.3 else members,
        }

    accounts = [
        {"name": name, "user": name, "access_key": name, "secret_key": "s", "token_url": f"http://{PLATFORM}/tokens"}
        for name in ("lab", "bob")
    ]
    clusters = [region(*ALWAYS), *([region("hefei")] if rng.random() < share else [])]
    tracking: dict[str, Any] = {"history_grace": "15s", "time_zone": "UTC", **({"state_file": state} if state else {})}
    return json.dumps({"poll": poll, "accounts": accounts, "clusters": clusters, "tracking": tracking})
