"""The image's recipe: lean, without privileges, and fed by nothing but what it needs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from exporter import __version__, healthcheck
from exporter.cli import main, serve
from exporter.cli.serve import DEFAULT_LISTEN
from tests.packaging.locks import ROOT, project

DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
STATE: Final = "/var/lib/hpc-exporter"


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of each, in order; lines that go on are joined."""
    code = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    lines = re.sub(r"\s*\\\n\s*", " ", code).splitlines()
    return [(keyword, arguments) for keyword, _, arguments in (line.partition(" ") for line in lines if line)]


def stages() -> list[dict[str, list[str]]]:
    """Return the arguments of each stage by keyword."""
    found: list[dict[str, list[str]]] = []
    for keyword, arguments in instructions():
        if keyword == "FROM":
            found.append({})
        found[-1].setdefault(keyword, []).append(arguments)
    return found


BUILD, FINAL = stages()


def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not made for this machine")
    done = subprocess.run([program, ROOT / "Dockerfile"], check=False, capture_output=True, text=True)  # noqa: S603 - our file
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_both_stages_have_the_same_base_of_a_named_release() -> None:
    """The packages built for one Python and one Debian run on them."""
    bases = {stage["FROM"][0].split()[0] for stage in (BUILD, FINAL)}
    (base,) = bases
    match = re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert match
    assert f"Programming Language :: Python :: {match[1]}" in project()["project"]["classifiers"]


def test_everything_is_installed_by_hash_or_from_here() -> None:
    commands = " && ".join(BUILD["RUN"]).split("&&")
    installs = [each for each in commands if re.search(r"pip .*(install|wheel) ", each)]
    assert len(installs) == 4
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert not any("pip" in each for each in FINAL["RUN"])


def test_it_runs_as_a_user_without_privileges() -> None:
    """By number, so that Kubernetes can tell."""
    (user,) = FINAL["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_programs_are_started_without_a_shell() -> None:
    for keyword in ("ENTRYPOINT", "CMD"):
        assert json.loads(FINAL[keyword][0])
    options, _, command = FINAL["HEALTHCHECK"][0].partition("CMD ")
    assert json.loads(command)[1:] == ["-m", healthcheck.__name__]
    granted = re.search(r"--timeout=(\d+)s", options)
    assert granted
    # Connecting and answering each have their time.
    assert int(granted[1]) > healthcheck.TIMEOUT


def test_it_starts_what_the_command_line_knows() -> None:
    arguments = json.loads(FINAL["CMD"][0])
    assert main.build_parser().parse_args(arguments).command == "serve"
    (port,) = FINAL["EXPOSE"]
    assert port == DEFAULT_LISTEN.rpartition(":")[2] == healthcheck.DEFAULT.rpartition(":")[2]


def test_state_has_a_place_that_survives() -> None:
    """The only one that is written to: a volume of the user's own, also where programs look for one without /tmp."""
    assert FINAL["VOLUME"] == FINAL["WORKDIR"] == [STATE]
    assert f"--owner=9851 --group=9851 --mode=0755 {STATE}" in FINAL["RUN"][0]
    assert FINAL["USER"] == ["9851:9851"]


def test_labels_tell_version_commit_source_and_licence() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', FINAL["LABEL"][0]))
    facts = project()["project"]
    assert labels == {
        "title": facts["name"],
        "description": facts["description"],
        "source": facts["urls"]["Source"],
        "licenses": facts["license"],
        "version": "$VERSION",
        "revision": "$REVISION",
    }
    assert FINAL["ARG"] == [f"VERSION={__version__}", "REVISION=unknown"]


def copied() -> list[str]:
    """Return the files that the build takes from the checkout."""
    return [source for arguments in BUILD["COPY"] for source in arguments.split()[:-1]]


def let_in() -> list[str]:
    """Return the files that .dockerignore lets in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_the_build_gets_what_it_copies_and_no_more() -> None:
    """No configuration with its token, no history, no tests."""
    for path in let_in():
        assert (ROOT / path).exists(), path
        assert any(path == source or path.startswith(f"{source}/") for source in copied()), path
    for source in copied():
        assert any(path == source or path.startswith(f"{source}/") for path in let_in()), source


def test_the_build_gets_all_that_the_wheel_is_made_of() -> None:
    """Also what a later change of pyproject.toml adds."""
    facts = project()
    wheel = facts["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["shared-data"], "pyproject.toml", "hatch_build.py", facts["project"]["readme"]]
    needed += facts["project"]["license-files"]
    for path in needed:
        assert any(path == each or path.startswith(f"{each}/") for each in let_in()), path


def test_compose_runs_it_as_it_is_meant_to_be_run() -> None:
    """Read-only, without capabilities, with the state kept, and with time for a last scrape."""
    service = COMPOSE["services"]["hpc-exporter"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert f"state:{STATE}" in service["volumes"]
    assert "state" in COMPOSE["volumes"]
    assert set(service["build"]["args"]) == {"REVISION"}
    assert int(service["stop_grace_period"].removesuffix("s")) > serve.SHUTDOWN_TIMEOUT
