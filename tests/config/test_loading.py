"""Values arrive as they were written, with defaults for the rest; the worst result is a list of mistakes."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.config import Account, Cluster, Config, FileSecret, InlineSecret, Member, PollSettings, load
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.sources.collector import catalogue, subjects_of

EXAMPLE = Path(__file__).parents[2] / "config" / "exporter.example.yml"
REGION = """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token: made-up
"""


def secret_values(config: Config) -> set[str]:
    return {secret.value() for secret in config.secrets()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def loaded(folder: Path, source: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "exporter.yml"
    path.write_text(source, encoding="utf-8")
    return load(path, environ or {})


def mistakes_in(path: Path, environ: Mapping[str, str]) -> list[ConfigProblem]:
    try:
        load(path, environ)
    except ConfigurationError as error:
        return error.mistakes
    return []


def region(folder: Path, source: str, environ: Mapping[str, str] | None = None) -> Cluster:
    return loaded(folder, source, environ).clusters[0]


def test_a_region_needs_little(folder: Path) -> None:
    assert loaded(folder, REGION) == Config(
        clusters=(
            Cluster(
                name="kunshan",
                cluster_id="11112",
                hpc_url="https://hpc.example.com:65106",
                ac_url="https://hpc.example.com:65106",
                token=InlineSecret("made-up"),
            ),
        )
    )


def test_defaults_are_those_of_the_documentation(folder: Path) -> None:
    config = loaded(folder, REGION)
    assert config.poll == PollSettings(
        interval=60, timeout=15, stale_after=180, max_concurrency=16, retries=2, max_body=2**26
    )
    assert config.clusters[0].collect == ("schedulers", "queue_jobs", "member_jobs")
    assert config.clusters[0].users is None
    assert (config.tracking.enabled, config.tracking.state_file) == (True, None)
    assert (config.tracking.history_grace, config.tracking.time_zone) == (600, ZoneInfo("Asia/Shanghai"))
    assert (config.per_job.enabled, config.per_job.max_jobs) == (False, 500)


def test_a_key_without_a_value_has_its_default(folder: Path) -> None:
    commented_out = REGION + "    users:\n    members: ~\n    poll:\n      interval: null\ntracking:\n"
    assert loaded(folder, commented_out) == loaded(folder, REGION)


@pytest.mark.parametrize(
    "user", ["1234", "on", "no", "1e3", "0x1F", "012345", "1_000", "2024-01-01", ".5", "=", "王伟", "'null'", '"~"']
)
def test_a_user_is_what_was_written_to_the_letter(user: str, folder: Path) -> None:
    users = region(folder, REGION + f"    users: [{user}]\n").users
    assert [each.name for each in users or ()] == [user.strip("'\"")]


def test_ids_keep_every_digit(folder: Path) -> None:
    source = REGION.replace("11112", "00533686286955839488")
    members = "    members: [{group_id: 533686286955839489, users: [test]}]\n"
    cluster = region(folder, source + members)
    assert cluster.cluster_id == "00533686286955839488"
    assert cluster.members == (Member(group_id="533686286955839489", group="533686286955839489", users=("test",)),)


@pytest.mark.parametrize("word", ["true", "True", "yes", "ON", "'on'"])
def test_a_boolean_can_be_written_in_several_ways(word: str, folder: Path) -> None:
    assert loaded(folder, REGION + f"per_job: {{enabled: {word}}}\n").per_job.enabled is True


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://hpc.example.com:65106", "https://hpc.example.com:65106"),
        ("https://hpc.example.com:65106/", "https://hpc.example.com:65106"),
        ("https://hpc.example.com:65106/hpc", "https://hpc.example.com:65106"),
        ("https://hpc", "https://hpc"),
        ("https://hpc.example.com:65106/hpc//", "https://hpc.example.com:65106"),
        ("https://example.com/east/hpc/", "https://example.com/east"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_kept_without_the_part_that_is_appended(written: str, url: str, folder: Path) -> None:
    ac_url = re.sub("(?<!/)/hpc(?=/|$)", "/ac", written)
    source = REGION.replace("https://hpc.example.com:65106", written) + f"    ac_url: '{ac_url}'\n"
    assert (region(folder, source).hpc_url, region(folder, source).ac_url) == (url, url)


def test_a_user_can_have_a_token_of_his_own(folder: Path) -> None:
    (folder / "bob-token").write_text("of-bob\n", encoding="utf-8")
    users = region(folder, REGION + "    users: [test, {name: bob, token_file: bob-token}]\n").users
    assert users
    assert users[0].token is None
    assert users[1].token == FileSecret(folder / "bob-token")


class TestPollSettings:
    """The settings of a region are its own over the general ones over the defaults."""

    @pytest.mark.parametrize(
        ("general", "own", "stale_after"),
        [
            ("", "", 180),
            ("interval: 10s", "", 30),
            ("", "interval: 10s", 30),
            ("interval: 20s", "interval: 10s", 30),
            ("stale_after: 5m", "interval: 10s", 300),
            ("stale_after: 5m", "interval: 10s, stale_after: 1m", 60),
        ],
    )
    def test_data_is_stale_after_three_intervals_unless_said_otherwise(
        self, general: str, own: str, stale_after: float, folder: Path
    ) -> None:
        source = f"poll: {{{general}}}\n{REGION}    poll: {{{own}}}\n"
        assert region(folder, source).poll.stale_after == stale_after

    def test_what_the_region_leaves_out_is_the_general_setting(self, folder: Path) -> None:
        source = f"poll: {{retries: 5, timeout: 3s, max_body: 1GiB}}\n{REGION}    poll: {{timeout: 1s, max_concurrency: 2}}\n"
        expected = PollSettings(interval=60, timeout=1, stale_after=180, max_concurrency=2, retries=5, max_body=2**30)
        assert region(folder, source).poll == expected


class TestVariables:
    @pytest.mark.parametrize(
        ("written", "token"),
        [
            ("x${A}y${B}z", "xoney${C}z"),  # and what it holds is not looked at again
            ("a$${NAME}b$c$$d", "a${NAME}b$c$$d"),
            ("${NULL}", "null"),
        ],
    )
    def test_a_variable_is_replaced_and_a_doubled_dollar_is_a_literal_one(
        self, written: str, token: str, folder: Path
    ) -> None:
        environ = {"A": "one", "B": "${C}", "C": "no", "NULL": "null"}
        assert region(folder, REGION.replace("made-up", written), environ).token == InlineSecret(token)

    def test_a_variable_can_be_a_number(self, folder: Path) -> None:
        assert loaded(folder, REGION + "poll: {retries: '${N}'}\n", {"N": "7"}).poll.retries == 7

    @given(value=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])).map(str.strip))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_variable_never_adds_structure(self, value: str, folder: Path) -> None:
        source = "accounts: [{name: a, user: b, access_key: c, secret_key: '${V}'}]"
        (folder / "exporter.yml").write_text(source, encoding="utf-8")
        mistakes = mistakes_in(folder / "exporter.yml", {"V": value})
        if value:
            assert mistakes == []
            assert secret_values(loaded(folder, source, {"V": value})) == {"c", value}
        else:
            assert len(mistakes) == 1

    def test_a_variable_that_is_not_unicode_is_a_mistake(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError, match="surrogate"):
            loaded(folder, REGION.replace("kunshan", "${A}"), {"A": os.fsdecode(b"\xff")})


class TestAccounts:
    def test_a_login_with_an_access_key(self, folder: Path) -> None:
        (folder / "secret").write_text("令牌", encoding="utf-8")
        source = "accounts: [{name: lab, user: alice, access_key: key, secret_key_file: secret}]"
        account = loaded(folder, source).accounts[0]
        assert account == Account(
            name="lab",
            user="alice",
            access_key=InlineSecret("key"),
            secret_key=FileSecret(folder / "secret", header=False),
            token_url="https://api.scnet.cn/api/user/v3/tokens",
        )

    def test_a_login_with_a_password(self, folder: Path) -> None:
        source = "accounts: [{name: lab, user: alice, password: p, org_id: 0123, url: https://ac.example.com/ac}]"
        account = loaded(folder, source).accounts[0]
        assert account.password == InlineSecret("p")
        assert (account.org_id, account.url, account.access_key) == ("0123", "https://ac.example.com", None)


class TestOctopus:
    SOURCE = """
octopus:
  - name: driving
    base_url: https://octopus.example.com/
    project_id: 087679f0aa
    iam: {url: https://iam.example.com, domain: d, user: u, password: 密码, project: cn-north-11}
    queues:
      - {queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}
      - {queue_type: PROCESSOR, cluster_type: CCE}
    poll: {interval: 10s}
"""

    def test_a_project_is_read(self, folder: Path) -> None:
        project = loaded(folder, self.SOURCE).octopus[0]
        assert (project.name, project.project_id) == ("driving", "087679f0aa")
        assert project.base_url == "https://octopus.example.com"
        assert project.iam
        assert project.iam.password == InlineSecret("密码", header=False)
        assert [queue.cluster_id for queue in project.queues] == ["pool-1", None]
        assert project.poll.stale_after == 30

    def test_what_is_collected_can_be_chosen(self, folder: Path) -> None:
        assert loaded(folder, self.SOURCE).octopus[0].collect == ("queuing_jobs",)
        nothing = loaded(folder, self.SOURCE + "    collect: []\n")
        assert nothing.octopus[0].collect == ()
        assert list(subjects_of("octopus", nothing.octopus[0])) == []
        assert [warning.partition(": ")[2] for warning in nothing.warnings] == [
            "octopus[0].queues: is not used: collect leaves out queuing_jobs",
            "octopus[0].collect: is empty: nothing is asked of this project",
        ]

    def test_a_collector_of_a_region_is_none_of_a_project(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError) as caught:
            loaded(folder, self.SOURCE + "    collect: [queue_jobs, queuing_jobs, queuing_jobs]\n")
        assert [str(mistake).removeprefix(f"{folder}/exporter.yml:") for mistake in caught.value.mistakes] == [
            "11:15: octopus[0].collect[0]: queue_jobs cannot be collected; choose from queuing_jobs, data_jobs",
            "11:41: octopus[0].collect[2]: queuing_jobs is given twice; the first one is on line 11",
        ]

    def test_a_password_can_come_from_a_file(self, folder: Path) -> None:
        (folder / "iam-password").write_text("密码\n", encoding="utf-8")
        config = loaded(folder, self.SOURCE.replace("password: 密码", "password_file: iam-password"))
        assert secret_values(config) == {"密码"}
        assert config.file_secrets() == (FileSecret(folder / "iam-password", header=False),)


def test_every_metric_of_the_exporter_can_be_excluded(folder: Path) -> None:
    names = tuple(catalogue())
    assert loaded(folder, f"{REGION}metrics: {{exclude: [{', '.join(names)}]}}").metrics.exclude == names


class TestFiles:
    def test_relative_paths_start_at_the_folder_of_the_configuration(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "token").write_text("from-file\n", encoding="utf-8")
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        (folder / "exporter.yml").write_text(REGION.replace("token: made-up", "token_file: token"), encoding="utf-8")
        secret = load(Path("../exporter.yml"), {}).file_secrets()[0]
        monkeypatch.chdir("/")
        assert secret.read() == "from-file"

    def test_authorities_are_read_and_checked(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        assert region(folder, REGION + "    tls: {ca_file: ca.pem}\n").tls.ca_file == folder / "ca.pem"

    def test_authorities_can_hold_comments_in_any_language(self, folder: Path) -> None:
        pem = "# 根证书\n".encode() + trustme.CA().cert_pem.bytes()
        (folder / "ca.pem").write_bytes(pem)
        assert region(folder, REGION + "    tls: {ca_file: ca.pem}\n").tls.ca_file

    def test_a_missing_configuration_is_a_mistake(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(folder / "none.yml", {})
        said = str(caught.value)
        assert said.startswith(f"{folder}/none.yml:1:1: the configuration cannot be read: there is no such file; ")
        assert "hpc-exporter discover writes one" in said

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("", r":1:1: .*: it is a directory"),
            ("a\0b", "not a file's name"),
            ("endless", "longer than 4 MiB"),
            ("/dev/zero", "cannot be read: it is not a regular file"),
            ("pipe", "cannot be read: it is not a regular file"),
        ],
    )
    def test_a_configuration_that_is_no_file_is_a_mistake(self, name: str, problem: str, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        with (folder / "endless").open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(ConfigurationError, match=problem) as caught:
            load(folder / name, {})
        assert "discover" not in str(caught.value), "there is one"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
    def test_an_unreadable_file_is_a_mistake(self, folder: Path) -> None:
        (folder / "exporter.yml").touch(mode=0)
        with pytest.raises(ConfigurationError, match=r":1:1: .*: permission denied"):
            load(folder / "exporter.yml", {})

    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_a_byte_that_is_not_utf_8_is_named_with_its_place(self, folder: Path, line_end: str) -> None:
        path = folder / "exporter.yml"
        path.write_bytes(f"clusters:{line_end}  - name: 昆山".encode() + b"\xff")
        with pytest.raises(ConfigurationError, match=r"exporter.yml:2:13: this byte is not UTF-8"):
            load(path, {})

    def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(self, folder: Path) -> None:
        path = folder / "exporter.yml"
        path.write_bytes(b"\xef\xbb\xbf" + REGION.replace("\n", "\r\n").encode())
        assert load(path, {}) == loaded(folder, REGION)


class TestReload:
    """Unchanged parts are equal, wherever they stand."""

    def test_a_part_that_moved_is_the_same_and_knows_its_new_place(self, folder: Path) -> None:
        before = region(folder, REGION)
        after = region(folder, "# a comment\n" + REGION)
        assert before == after
        assert hash(before) == hash(after)
        assert before.place == f"{folder}/exporter.yml:3:5"
        assert after.place == f"{folder}/exporter.yml:4:5"

    @pytest.mark.parametrize(
        "change", ["    users: [test]\n", "    poll: {retries: 1}\n", "    tls: {insecure_skip_verify: on}\n"]
    )
    def test_a_part_that_changed_differs(self, change: str, folder: Path) -> None:
        assert region(folder, REGION) != region(folder, REGION + change)

    def test_every_part_that_can_be_blamed_knows_its_place(self, folder: Path) -> None:
        source = (
            REGION
            + "    users: [test, {name: bob}]\n    members: [{group_id: 1, users: [test]}]\n"
            + "accounts: [{name: a, user: b, access_key: c, secret_key: d}]\n"
            + TestOctopus.SOURCE
        )
        config = loaded(folder, source)
        cluster, project = config.clusters[0], config.octopus[0]
        assert cluster.users
        placed = [*cluster.users, *cluster.members, *config.accounts, project, *project.queues]
        places = [part.place.removeprefix(f"{folder}/exporter.yml:") for part in placed]
        assert places == ["7:13", "7:19", "8:15", "9:12", "12:5", "17:9", "18:9"]

    def test_secrets_of_the_same_file_are_one_object_and_outlive_a_reload(self, folder: Path) -> None:
        (folder / "token").write_text("first", encoding="utf-8")
        source = REGION.replace("token: made-up", "token_file: token\n    users: [{name: bob, token_file: token}]")
        before = loaded(folder, source)
        after = loaded(folder, "# moved\n" + source + "    requests_per_second: 5\n")
        kept = after.keeping(before)
        assert kept == after
        assert kept.clusters[0].place == after.clusters[0].place != before.clusters[0].place
        assert {id(secret) for secret in kept.file_secrets()} == {id(before.clusters[0].token)}

    def test_a_reload_takes_over_no_secret_of_another_file(self, folder: Path) -> None:
        for name in ("token", "other"):
            (folder / name).write_text(name, encoding="utf-8")
        before = loaded(folder, REGION.replace("token: made-up", "token_file: token"))
        after = loaded(folder, REGION.replace("token: made-up", "token_file: other"))
        assert after.keeping(before).clusters[0].token is after.clusters[0].token
        assert secret_values(loaded(folder, REGION).keeping(before)) == {"made-up"}


class TestWarnings:
    def test_a_clean_configuration_has_none(self, folder: Path) -> None:
        assert loaded(folder, REGION).warnings == ()
        account = "accounts: [{name: lab, user: alice, access_key: key, secret_key: secret}]\n"
        assert loaded(folder, account + REGION.replace("token: made-up", "account: lab")).warnings == ()

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]:1", "region.localhost"])
    def test_plain_http_to_this_machine_is_fine(self, host: str, folder: Path) -> None:
        source = REGION.replace("https://hpc.example.com:65106", f"http://{host}")
        assert loaded(folder, source).warnings == ()

    def test_what_is_unwise_is_named_with_its_place_in_order(self, folder: Path) -> None:
        source = (
            REGION.replace("https", "http")
            + "    tls: {insecure_skip_verify: true}\n    members: [{group_id: 1, users: [a]}]\n    users: [a]\n"
            + "    collect: [schedulers]\n    ac_url: http://127.0.0.1.example.com\n"
        )
        assert [warning.removeprefix(f"{folder}/exporter.yml:") for warning in loaded(folder, source).warnings] == [
            "5:14: clusters[0].hpc_url: http is not encrypted: the token can be read on the way; use https",
            "7:33: clusters[0].tls.insecure_skip_verify: certificates are not verified: the secrets can be read on the way; prefer ca_file",
            "8:14: clusters[0].members: is not used: collect leaves out member_jobs",
            "9:12: clusters[0].users: is not used: collect leaves out queue_jobs",
            "11:13: clusters[0].ac_url: http is not encrypted: the token can be read on the way; use https",
        ]


def test_secrets_are_in_no_text_of_the_configuration(folder: Path) -> None:
    (folder / "token").write_text("hidden-in-a-file", encoding="utf-8")
    source = (
        REGION.replace("made-up", "hidden-inline")
        + "    users: [{name: a, token_file: token}]\n"
        + "accounts: [{name: a, user: b, access_key: hidden-key, secret_key: hidden-secret}]\n"
    )
    config = loaded(folder, source)
    assert secret_values(config) == {"hidden-in-a-file", "hidden-inline", "hidden-key", "hidden-secret"}
    assert "hidden" not in f"{config} {config!r}"


def test_ten_thousand_users_are_loaded_in_seconds(folder: Path) -> None:
    names = [f"user{number:05}" for number in range(10_000)]
    source = REGION + f"    users: [{', '.join(names)}]\n    members: [{{group_id: 1, users: [{', '.join(names)}]}}]\n"
    started = time.process_time()
    cluster = region(folder, source)
    assert time.process_time() - started < 60
    assert [user.name for user in cluster.users or ()] == list(cluster.members[0].users) == names


YAML_PIECES = st.sampled_from("[]{}:,-?'\"|>%@`#~ \n\t\\") | st.sampled_from(
    ["clusters:", "poll:", "name: ", "users: ", "- ", "&a ", "*a", "!t ", "!!int ", "---", "...", "${A}", "${", "$${", "<<"]
)  # fmt: skip


def never_worse_than_mistakes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for mistake in mistakes_in(path, {"A": "\n- x: &a {"}):
        assert mistake.line >= 1
        assert mistake.column >= 1
        assert "\n" not in str(mistake)


anything_goes = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)


@given(content=st.binary(max_size=60))
@anything_goes
def test_random_bytes_do_no_worse_than_a_list_of_mistakes(content: bytes, folder: Path) -> None:
    never_worse_than_mistakes(folder / "exporter.yml", content)


@given(content=st.lists(YAML_PIECES | st.text(max_size=3), max_size=40).map("".join))
@example(content='{"\\ud800": 1}')
@example(content='{"a\\nb": 1}')
@example(content='clusters: "\\ud800"')
@example(content="? {a: b}\n: c")
@example(content="clusters: &a [*a, *a]\noctopus: *a")
@example(content="a: !<tag:yaml.org,2002:map> x")
@example(content="a: 2001-01-01\nb: !!binary x")
@example(content="clusters: [{users: [{}, [], '', ~, {name: []}], members: [[], {users: {}}], poll: [], tls: x}]")
@example(content="octopus: [{queues: [[]], iam: [], tls: {ca_file: []}}, x]\naccounts: {}\npoll: {interval: {}}")
@example(
    content="accounts: !t []\nclusters: [{account: x, users: !t [], members: !t [], collect: !t []}]\nmetrics: !t {}"
)
@example(content="poll: !t {}\nclusters: [{poll: {interval: 1s}, tls: !t {}}]\noctopus: [{queues: !t [], poll: !t {}}]")
@example(content="%YAML 1.2\n---\n{}")
@anything_goes
def test_random_yaml_does_no_worse_than_a_list_of_mistakes(content: str, folder: Path) -> None:
    never_worse_than_mistakes(folder / "exporter.yml", content.encode(errors="surrogatepass"))


@given(data=st.data())
@anything_goes
def test_a_damaged_example_does_no_worse_than_a_list_of_mistakes(data: st.DataObject, folder: Path) -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(len(source), start + 30)))
    damaged = source[:start] + data.draw(YAML_PIECES) + source[end:]
    never_worse_than_mistakes(folder / "exporter.yml", damaged.encode())
