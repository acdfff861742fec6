"""`hpc-exporter discover` as its users run it: from an access key to a configuration that polls."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.cli.discovered import Known, checked_region, configuration, quoted, sections_of, slug
from exporter.cli.main import main
from exporter.config import Account as ConfiguredAccount
from exporter.config import InlineSecret, load
from exporter.simulator import Account, Fault, Simulator, default_regions
from exporter.sources.scnet.discovery import Found, Group
from exporter.sources.scnet.schedulers import Scheduler
from exporter.sources.values import Id, Name
from exporter.text import on_one_line
from tests.app.running import ready
from tests.e2e.process import run
from tests.support.platform import idle_regions

KEYS = {"SCNET_ACCESS_KEY": "accessSESAME1", "SCNET_SECRET_KEY": "secretSESAME2"}
LAB = Account(
    "lab",
    KEYS["SCNET_ACCESS_KEY"],
    KEYS["SCNET_SECRET_KEY"],
    "passwordSESAME3",
    users={"kunshan": "test", "xian": "bob", "harbin": "test"},
)


@asynccontextmanager
async def simulated(titles: Mapping[str, str] | None = None) -> AsyncIterator[Simulator]:
    """Three regions; `titles` gives some of them other names."""
    specs = [replace(spec, title=(titles or {}).get(spec.name, spec.title)) for spec in idle_regions(3)]
    async with Simulator(specs, accounts=[LAB]) as simulator:
        yield simulator


async def discovered(
    folder: Path,
    simulator: Simulator,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: str = "60s",  # noqa: ASYNC109 - a flag
) -> tuple[int, str, str]:
    given = arguments or ("--user=lab", f"--token-url={simulator.token_url}")
    return await run(folder, "discover", *given, f"--timeout={timeout}", env=KEYS if env is None else env)


async def test_the_output_is_accepted_and_polls_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions of one name, one that is disabled, two users: and everything works that can."""
    async with simulated({"xian": "华东一区【昆山】"}) as simulator:
        simulator.disable("lab", "harbin")
        status, out, err = await discovered(tmp_path, simulator)
        assert status == 0, err
        (tmp_path / "exporter.yml").write_text(out, encoding="utf-8")
        status, said, err = await run(tmp_path, "check", env=KEYS)
        assert (status, err) == (0, ""), said
        clusters = yaml.safe_load(out)["clusters"]
        assert [cluster["name"] for cluster in clusters] == ["华东一区-昆山", "华东一区-昆山-2"]
        assert [cluster["users"] for cluster in clusters] == [["test"], ["bob"]]
        regions = list(simulator.regions.values())
        assert [cluster["hpc_url"] for cluster in clusters] == [region.hpc_url for region in regions[:2]]
        assert {cluster["ac_url"] for cluster in clusters} == {simulator.platform.url}
        assert "    # scheduler 1638523853: Cluster (SLURM)\n" in out
        assert "(cluster_id 11225): the account is disabled in this region\n" in out
        assert "SESAME" not in out
        assert not [token for token in simulator._office._issued if token in out]
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        async with ready(tmp_path, out) as exporter:
            samples = await exporter.samples()
        assert {samples[series] for series in samples if series.startswith("hpc_up")} == {1}


async def test_regions_that_fail_are_comments_and_no_region_at_all_is_a_failure(tmp_path: Path) -> None:
    async with simulated() as simulator:
        harbin = simulator.regions["harbin"]
        simulator.platform.faults.add(Fault(kind="code", endpoint="center", code="10001", times=2, user="bob"))
        harbin.hpc_url = "https://passwordSESAME5@hpc.example.invalid"
        status, out, err = await discovered(tmp_path, simulator)
        assert status == 0, err
        assert [cluster["cluster_id"] for cluster in yaml.safe_load(out)["clusters"]] == ["11112"]
        assert "(cluster_id 11225): what it says of itself cannot be used: hpc_url must not hold a user name" in out
        assert "SESAME" not in out
        assert "# Left out: 西北一区【西安】 (cluster_id 11136): the region failed: internal error" in out
        simulator.platform.faults.add(Fault(kind="hang", endpoint="center"))
        status, out, err = await discovered(tmp_path, simulator, timeout="1s")
        assert status == 1
        assert "hpc-exporter: no region of lab can be polled; first: " in err
        assert out.count("# Left out: ") == out.count("no complete answer from 127.0.0.1") == 3
        (tmp_path / "exporter.yml").write_text(out, encoding="utf-8")
        assert load(tmp_path / "exporter.yml", KEYS).clusters == ()


async def test_a_rejected_login_is_one_line_and_no_configuration(tmp_path: Path) -> None:
    async with simulated() as simulator:
        wrong = {**KEYS, "SCNET_SECRET_KEY": "wrongSESAME4"}
        status, out, err = await discovered(tmp_path, simulator, env=wrong)
    assert (status, out) == (1, "")
    assert err.startswith("hpc-exporter: the login of lab failed: the credential was rejected: ")
    assert "; first: check the user and the keys" in err
    assert len(err.splitlines()) == 1
    assert "SESAME" not in err


async def test_groups_members_and_collectors_are_found_and_pass_the_online_check(tmp_path: Path) -> None:
    """With nothing but an access key; optional endpoints that are not there, or refused, are comments."""
    async with simulated() as simulator:
        kunshan, xian, _ = simulator.regions.values()
        kunshan.faults.add(Fault(kind="status", endpoint="region_cores", status=404))
        simulator.platform.faults.add(Fault(kind="code", endpoint="member_jobs", code="911009", user="carol"))
        xian.set_quirks(members_named_by="platform")
        where = ("--user=lab", f"--token-url={simulator.token_url}", "--output=exporter.yml")
        status, out, err = await discovered(tmp_path, simulator, *where)
        assert (status, out) == (0, ""), err
        text = (tmp_path / "exporter.yml").read_text(encoding="utf-8")
        clusters = {cluster["cluster_id"]: cluster for cluster in yaml.safe_load(text)["clusters"]}
        assert clusters["11112"]["members"] == [
            {"group_id": 533686286955839488, "group": "chemistry", "users": ["test", "alice", "王伟"]},
            {"group_id": 533686286955839489, "group": "physics", "users": ["bob", "zhang-san"]},
        ]
        assert "# Left out: carol: the region does not list the jobs of this user" in text
        assert "region_cores" not in clusters["11112"]["collect"]
        assert "# region_cores did not answer: HTTP 404" in text
        assert "region_cores" in clusters["11225"]["collect"]
        # Only the own row of a member that is no administrator.
        assert "which may not be scheduler users: lab" in text
        assert "found 华东一区-昆山: user test, groups chemistry, physics with 6 members" in err
        assert "written to exporter.yml; next: hpc-exporter check --online --config.file=exporter.yml" in err
        assert "SESAME" not in text + err
        simulator.platform.faults.clear()
        (tmp_path / "exporter.yml").write_text(text.replace('["lab"]', '["bob"]'), encoding="utf-8")
        status, said, err = await run(tmp_path, "check", "--online", env=KEYS)
        assert status == 0, said + err


@pytest.mark.parametrize("wrong", [{"SCNET_SECRET_KEY": "wrong"}, {}], ids=["login", "regions"])
async def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / "exporter.yml").write_text("precious")
    async with simulated() as simulator:
        if not wrong:
            simulator.platform.faults.add(Fault(kind="status", endpoint="center", status=404))
        where = ("--user=lab", f"--token-url={simulator.token_url}", "--output=exporter.yml")
        status, out, err = await discovered(tmp_path, simulator, *where, env={**KEYS, **wrong})
    assert (status, out) == (1, "")
    assert "; first: " in err
    assert (tmp_path / "exporter.yml").read_text() == "precious"


async def test_without_groups_or_their_list_the_rest_is_written(tmp_path: Path) -> None:
    async with simulated() as simulator:
        for fault, words in (
            (Fault(kind="code", endpoint="groups", data=None, code="0"), "No group of this account was found here\n"),
            (Fault(kind="status", endpoint="groups", status=404), "No group of this account was found here: HTTP 404"),
            (Fault(kind="hang", endpoint="groups"), "No group of this account was found here: no complete answer"),
            (Fault(kind="wrong_shape", endpoint="groups", data="x"), "No group of this account was found here: "),
        ):
            simulator.platform.faults.clear()
            simulator.platform.faults.add(fault)
            status, out, err = await discovered(tmp_path, simulator, timeout="2s" if fault.kind == "hang" else "60s")
            assert status == 0, err
            assert words in out
            clusters = yaml.safe_load(out)["clusters"]
            assert not [cluster for cluster in clusters if "members" in cluster or "member_jobs" in cluster["collect"]]


async def test_keys_from_files_are_referred_to_as_files(tmp_path: Path) -> None:
    (tmp_path / "ak").write_text(LAB.access_key + "\n")
    (tmp_path / "sk").write_text(LAB.secret_key)
    async with simulated() as simulator:
        where = ("--user=lab", f"--token-url={simulator.token_url}", "--access-key-file=ak", "--secret-key-file=sk")
        status, out, err = await discovered(tmp_path, simulator, *where, env={})
        assert status == 0, err
        [account] = yaml.safe_load(out)["accounts"]
        assert account["access_key_file"] == str(tmp_path / "ak")
        assert account["secret_key_file"] == str(tmp_path / "sk")
        (tmp_path / "exporter.yml").write_text(out, encoding="utf-8")
        assert len(load(tmp_path / "exporter.yml").clusters) == 3
        # And what was discovered can be discovered again, from that very file.
        again = await discovered(tmp_path, simulator, "--config.file=exporter.yml", env={})
        assert again == (0, out, err)


async def test_an_account_of_a_configuration_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(LAB.password)
    async with simulated() as simulator:
        url = simulator.token_url.partition("/api")[0]
        accounts = [
            {"name": "other", "user": "x", "access_key": "a", "secret_key": "s"},
            {"name": "old", "user": "lab", "password_file": "pw", "org_id": "sugon", "url": url},
        ]
        (tmp_path / "exporter.yml").write_text(json.dumps({"accounts": accounts}))
        where = ("--config.file=exporter.yml", "--account=old")
        status, out, err = await discovered(tmp_path, simulator, *where, env={})
        assert status == 0, err
        (tmp_path / "exporter.yml").write_text(out, encoding="utf-8")
        assert len(load(tmp_path / "exporter.yml").clusters) == 3
        assert "SESAME" not in out


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        ((), {}, "--user is required: your platform login"),
        (("--user=lab",), {}, "no usable key in the environment variable SCNET_ACCESS_KEY: it is empty"),
        (("--user=lab", "--access-key-file=missing"), {}, "no usable key in missing: there is no such file"),
        (("--user=lab", "--secret-key-file=."), KEYS, "no usable key in .: it is "),
        (("--user= ",), KEYS, "--user: is empty"),
        (("--user=lab", "--token-url=api.scnet.cn"), KEYS, "--token-url: is not an address like https://host:port"),
        (("--user=lab", "--ac-url=https://a:b@c"), KEYS, "--ac-url: must not hold a user name or a password"),
        (("--user=lab", "--ca-file=missing.pem"), KEYS, "missing.pem"),
        (("--user=lab", "--timeout=soon"), KEYS, "--timeout"),
        (("--account=lab",), KEYS, "--account chooses from a configuration"),
        (("--config.file=exporter.yml", "--user=lab"), KEYS, "--user does not go with --config.file"),
        (("--config.file=exporter.yml", "--account=nobody"), KEYS, "exporter.yml has no account nobody"),
        (("--secret-key=x",), KEYS, "there is no flag --secret-key; did you mean --secret-key-file?"),
    ],
)
def test_wrong_usage_is_said_with_status_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    account = {"name": "a", "user": "a", "access_key": "a", "secret_key": "s"}
    (here / "exporter.yml").write_text(json.dumps({"accounts": [account]}))
    os.environ.update(env)
    assert status_of(["discover", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "SESAME" not in err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to work in, with no keys in the environment, which is as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in KEYS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def status_of(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


async def test_it_writes_to_a_pipe_that_is_read_or_not(tmp_path: Path) -> None:
    """UTF-8 whatever the terminal's encoding; and no traceback when the reader has seen enough."""
    async with simulated() as simulator:
        command = (sys.executable, "-m", "exporter", "discover", "--user=lab", f"--token-url={simulator.token_url}")
        env = {**os.environ, **KEYS, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
        pipe = asyncio.subprocess.PIPE
        whole = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=env, cwd=tmp_path)
        out, err = await whole.communicate()
        assert whole.returncode == 0, err
        assert "【西安】" in out.decode("utf-8")
        reading, writing = os.pipe()
        os.close(reading)
        cut = await asyncio.create_subprocess_exec(*command, stdout=writing, stderr=pipe, env=env, cwd=tmp_path)
        os.close(writing)
        _, err = await cut.communicate()
        assert cut.returncode == 1
        assert b"Traceback" not in err


async def test_a_private_authority_is_taken_over_into_the_configuration(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    simulator = Simulator(idle_regions(1), accounts=[LAB])
    await simulator.start(tls=context)
    try:
        where = ("--user=lab", f"--token-url={simulator.token_url}")
        status, out, err = await discovered(tmp_path, simulator, *where, "--ca-file=ca.pem")
        assert status == 0, err
        status, _, err = await discovered(tmp_path, simulator, *where)
        assert status == 1
        assert "was not accepted" in err
    finally:
        await simulator.stop()
    (tmp_path / "exporter.yml").write_text(out, encoding="utf-8")
    config = load(tmp_path / "exporter.yml", KEYS)
    [account], [cluster] = config.accounts, config.clusters
    assert account.tls.ca_file == cluster.tls.ca_file == tmp_path / "ca.pem"


# Names that are hostile to YAML


HOSTILE = [
    *("one\ntwo: 3", "quotes \" and '", "# no comment", "key: value", "${HOME}", "$${HOME}", "🚀"),
    *("\u202eright to left", "\x00\x1b[31m", "\x7f\x85\u2028\u2029\ufeff", "- item", "*alias &anchor !tag"),
    *("%percent", "@at `tick`", "{a: b}, [c]", "null", "true", "0x10", "1e3", "", " ", "'", "\\", "\\n", "--- ..."),
    "a" * 3000,
]


def known() -> Known:
    account = ConfiguredAccount(name="lab", user="lab", access_key=InlineSecret("a"), secret_key=InlineSecret("s"))
    return Known(account, ("access_key: ${SCNET_ACCESS_KEY}", "secret_key: ${SCNET_SECRET_KEY}"))


def written(folder: Path, found: list[Found]) -> Path:
    account = known()
    regions = [checked_region(region, account.account) for region in found]
    lines = configuration(account, regions, sections_of(regions, account.account), {})
    path = folder / "hostile.yml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_hostile_names_stay_what_and_where_they_are(tmp_path: Path, hostile: str) -> None:
    """As name, id, user, scheduler and reason; the region beside is not disturbed. Unusable parts are left out."""
    url = "https://hpc.example.com"
    found = [
        Found("1", hostile, "u1", url, (Scheduler(Id(hostile), Name(hostile), Name(hostile)),), hostile),
        Found("2", hostile, hostile, url),
        Found(hostile, "three", "u3", url),
        Found("4", "four", "u4", hostile),
        Found("5", hostile, problem=hostile),
        Found(
            "6",
            "six",
            "u6",
            url,
            groups=(Group("6", hostile, hostile, (hostile, "u")), Group("6", "7", hostile, ("u",))),
        ),
    ]
    config = load(written(tmp_path, found), KEYS)
    clusters = {cluster.cluster_id: cluster for cluster in config.clusters}
    assert {"1", "6"} <= clusters.keys() <= {"1", "2", hostile, "6"}
    assert [user.name for user in clusters["6"].users or ()] == ["u6"]
    assert len({cluster.name for cluster in config.clusters}) == len(config.clusters)
    usable = hostile.isprintable() and hostile == hostile.strip()
    if usable and hostile:
        assert [user.name for user in clusters["2"].users or ()] == [hostile]
    elif not usable:
        assert "2" not in clusters
        assert hostile not in clusters


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.text()] * 5))
def test_whatever_regions_say_the_configuration_is_accepted(tmp_path: Path, texts: tuple[str, ...]) -> None:
    name, user, region_id, problem, url = texts
    address = "https://hpc.example.com"
    found = [
        Found("1", name, user, address, (Scheduler(Id(name), Name(user), Name(problem)),), problem),
        Found(region_id, name, user, address, problem=problem),
        Found("3", name, user, f"https://{url}", problem=problem),
        Found(
            "4",
            name,
            "u",
            address,
            groups=(Group("4", region_id, name, (user, problem)), Group("4", "7", name, ("u",))),
        ),
    ]
    config = load(written(tmp_path, found), KEYS)
    assert "4" in {cluster.cluster_id for cluster in config.clusters}


@given(st.text())
def test_quoted_text_is_that_very_text_on_one_line(text: str) -> None:
    assert yaml.safe_load(quoted(text)) == text.replace("${", "$${")
    assert len(quoted(text).splitlines()) == 1
    assert quoted(text).isprintable()


@given(st.text())
def test_a_comment_stays_one(text: str) -> None:
    assert yaml.safe_load(f"a: 1 # {on_one_line(text)}\nb: 2") == {"a": 1, "b": 2}


def test_names_are_made_unique() -> None:
    taken: set[str] = set()
    assert [slug(name, taken) for name in ("Ost 1", "ost-1", "【Ost】 1", "…", "", "ost-1-2")] == [
        "ost-1", "ost-1-2", "ost-1-3", "region", "region-2", "ost-1-2-2",
    ]  # fmt: skip


def test_the_simulators_own_regions_have_names_of_their_own() -> None:
    taken: set[str] = set()
    names = [slug(spec.title, taken) for spec in default_regions(6)]
    assert len(set(names)) == 6
    assert all("-" in name and "【" not in name for name in names)
