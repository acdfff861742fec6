"""`hpc-exporter discover`: from an account's access key to a configuration ready to use."""

import argparse
import asyncio
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from exporter.app.poll_once import Trial, try_collectors
from exporter.app.tls import context_for
from exporter.cli import options
from exporter.cli.commands import Command, Flag, Value
from exporter.cli.discovered import (
    Known,
    Section,
    checked_region,
    configuration,
    quoted,
    reason_of,
    sections_of,
    slug,
)
from exporter.cli.options import UsageError
from exporter.cli.output import warn, write
from exporter.config import Account, FileSecret, InlineSecret, Secret, Tls, UnusableSecretError, load
from exporter.config.model import PLATFORM_URL, TOKEN_URL
from exporter.config.values import AcUrl, Name, Url
from exporter.errors import (
    AuthenticationError,
    ConfigurationError,
    ExporterError,
    PollError,
    ServerError,
    ThrottledError,
    UntrustedCertificateError,
    UpstreamBusyError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import Settings, Upstream
from exporter.sources.scnet.discovery import Discovery, discover
from exporter.sources.scnet.platform import login_of

ACCESS_KEY, SECRET_KEY = "SCNET_ACCESS_KEY", "SCNET_SECRET_KEY"
# Keys that are sent in a header, which not every character survives; the secret key only signs.
HEADERS = frozenset({"access_key"})

EXAMPLE = f"""examples:
  {ACCESS_KEY}=... {SECRET_KEY}=... \\
    hpc-exporter discover --user=alice --output=exporter.yml
  hpc-exporter discover --user=alice \\
    --access-key-file=ak --secret-key-file=sk \\
    --output=exporter.yml
  hpc-exporter discover --config.file=exporter.yml --account=lab

The keys are read from files or from the environment, never from the command line, where every user can see them.
Exit status: 0 if at least one region can be polled, 1 if none can or the login fails, 2 for wrong usage.
"""


class DiscoverError(ExporterError):
    """The login failed, or no region of the account can be polled."""


def _value_of(kind: Any, name: str | None = None) -> Value:
    """Return a value that is accepted where the configuration accepts it."""
    adapter = TypeAdapter[str](kind)

    def read(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise ValueError(reason_of(error)) from None

    return Value(name, options.read_by(read))


COMMAND = Command(
    "write a configuration from an account's access key",
    "Log in with an access key, query every region of the account for its addresses, scheduler user and schedulers, and the "
    "platform for the account's groups and their members, try each collector once, and print a configuration. Anything that "
    "does not answer becomes a comment with the reason.",
    EXAMPLE,
    Flag("--user", "the platform login", _value_of(Name)),
    Flag("--access-key-file", f"file with the access key (default: ${ACCESS_KEY})", options.FILE),
    Flag("--secret-key-file", f"file with the secret key (default: ${SECRET_KEY})", options.FILE),
    Flag("--token-url", f"login address (default: {TOKEN_URL})", _value_of(Url, "URL")),
    Flag(
        "--ac-url",
        f"platform address that lists the regions (default: {PLATFORM_URL}, or the host of another --token-url)",
        _value_of(AcUrl, "URL"),
    ),
    Flag("--ca-file", "private CA of these hosts", options.FILE),
    Flag("--insecure-skip-verify", "do not verify certificates"),
    Flag(
        "--output",
        "write the configuration to this file, once it is complete, instead of standard output",
        options.FILE_OR_STREAM,
    ),
    Flag("--config.file", "take the account from this configuration", options.FILE),
    Flag("--account", "which account of the configuration (default: the first)", options.NAME),
    Flag("--timeout", "timeout of one request", options.DURATION, "10s"),
    *options.logging(),
)


def run(args: argparse.Namespace) -> int:
    known = _from_config(args) if args.config_file else _from_arguments(args)
    tls = _trusted(known.account.tls)
    # As it will be written: where the platform is asked is its own setting.
    known = replace(known, account=known.account.model_copy(update={"url": args.ac_url or known.account.url}))
    settings = Settings(name=known.account.name, timeout=args.timeout, retries=1)
    discovery, sections, trials = asyncio.run(_find_out(known.account, tls, settings))
    lines = configuration(known, discovery.regions, sections, trials, discovery.groups_problem)
    text = "".join(f"{line}\n" for line in lines)
    if not sections:
        if args.output is None:
            write(text)
        warn(*_left_out(discovery))
        nothing = (
            "the account has no region" if not discovery.regions else f"no region of {known.account.user} can be polled"
        )
        raise DiscoverError(f"{nothing}; first: look at the account's regions on the platform, then try again")
    write(text, args.output)
    warn(*_summary(discovery, sections, trials), *_left_out(discovery), *_next_steps(args.output))
    return 0


def _summary(discovery: Discovery, sections: list[Section], trials: Mapping[str, Trial]) -> Iterator[str]:
    """Yield a line for each region that can be polled."""
    for section in sections:
        cluster = section.cluster
        users = {user for member in cluster.members for user in member.users}
        chosen, _ = trials[cluster.name].chosen(members=bool(users))
        groups = (
            f"groups {', '.join(member.group for member in cluster.members)} with {len(users)} members"
            if users
            else "no group"
        )
        yield f"found {cluster.name}: user {section.region.user or 'unknown'}, {groups}; {', '.join(each.name for each in chosen)}"
    if discovery.groups_problem:
        known = "all known" if any(region.groups for region in discovery.regions) else "known"
        yield f"the groups of the account are not {known}: {discovery.groups_problem}; first: does it administer one? Then give members yourself"
    for group in discovery.elsewhere:
        yield f"left out the group {group.name or group.group_id}: it is of no region of this account"


def _left_out(discovery: Discovery) -> Iterator[str]:
    for region in discovery.regions:
        if not region.hpc_url:
            yield f"left out {region.name or region.cluster_id}: {region.problem}"


def _next_steps(output: Path | None) -> Iterator[str]:
    file = output or "FILE"
    where = f"written to {output}" if output is not None else "put this configuration into a file"
    yield f"{where}; next: hpc-exporter check --online --config.file={file}, then hpc-exporter --config.file={file}"


def _from_config(args: argparse.Namespace) -> Known:
    """Return the account named on the command line, or the first one, of a configuration. Raises ConfigurationError."""
    for flag in ("user", "access_key_file", "secret_key_file", "token_url", "ca_file", "insecure_skip_verify"):
        if getattr(args, flag):
            raise UsageError(f"--{flag.replace('_', '-')} does not go with --config.file, which says it already")
    accounts = load(args.config_file).accounts
    chosen = [account for account in accounts if args.account in (None, account.name)]
    if not chosen:
        raise UsageError(f"{args.config_file} has no account {args.account or 'at all'}")
    account = chosen[0]
    keys = (
        [("password", account.password)]
        if account.password
        else [("access_key", account.access_key), ("secret_key", account.secret_key)]
    )
    names = {"password": "SCNET_PASSWORD", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return Known(account, tuple(_reference(key, secret, names[key]) for key, secret in keys if secret is not None))


def _from_arguments(args: argparse.Namespace) -> Known:
    """Return the account of the flags and the environment."""
    if args.account:
        raise UsageError("--account chooses from a configuration: give it with --config.file")
    if not args.user:
        raise UsageError("--user is required: your platform login; or give a configuration with --config.file")
    access_key = _given_secret("access_key", args.access_key_file, ACCESS_KEY)
    secret_key = _given_secret("secret_key", args.secret_key_file, SECRET_KEY)
    account = Account(
        name=slug(args.user, set()),
        user=args.user,
        access_key=access_key,
        secret_key=secret_key,
        token_url=args.token_url or TOKEN_URL,
        tls=Tls(ca_file=args.ca_file, insecure_skip_verify=args.insecure_skip_verify),
    )
    return Known(
        account, (_reference("access_key", access_key, ACCESS_KEY), _reference("secret_key", secret_key, SECRET_KEY))
    )


def _trusted(tls: Tls) -> ssl.SSLContext:
    """Return the context for the account's hosts. Raises UsageError for a CA file that cannot be used."""
    try:
        return context_for(tls, ":0:0")
    except ConfigurationError as error:
        raise UsageError(error.mistakes[0].message) from None


def _given_secret(key: str, file: Path | None, variable: str) -> Secret:
    """Return a key from its file or from the environment. Raises UsageError."""
    try:
        if file is not None:
            return FileSecret(file.absolute(), f"{key}_file {file}", header=key in HEADERS)
        return InlineSecret(os.environ.get(variable, ""), variable, header=key in HEADERS)
    except UnusableSecretError as error:
        where = f"{file}" if file is not None else f"the environment variable {variable}"
        flag = f"--{key.replace('_', '-')}-file"
        raise UsageError(f"no usable key in {where}: {error}; give a file with {flag} or set {variable}") from None


def _reference(key: str, secret: Secret, variable: str) -> str:
    """Return the line with which a configuration refers to a secret, without the secret itself."""
    if isinstance(secret, FileSecret):
        return f"{key}_file: {quoted(str(secret.path.absolute()))}"
    missing = "" if os.environ.get(variable) else "   # to be set in the environment"
    return f"{key}: ${{{variable}}}{missing}"


async def _find_out(
    account: Account, tls: ssl.SSLContext, settings: Settings
) -> tuple[Discovery, list[Section], Mapping[str, Trial]]:
    """Log in, ask for all regions and groups, and try all collectors. Raises DiscoverError where the login fails."""
    slots = asyncio.Semaphore(settings.max_concurrency)
    upstream = Upstream(settings, slots=slots, tls=tls)
    try:
        found = await discover(upstream, login_of(account), account.url, time.time())
    except PollError as error:
        raise DiscoverError(f"the login of {account.user} failed: {error}; first: {_advice(account, error)}") from None
    finally:
        await upstream.close()
    found = replace(found, regions=[checked_region(region, account) for region in found.regions])
    sections = sections_of(found.regions, account)
    clusters = [section.cluster for section in sections]
    trials = await try_collectors([account], clusters, {account.tls: tls}, settings.timeout) if clusters else {}
    return found, sections, trials


def _advice(account: Account, error: PollError) -> str:
    """Return the first thing to check after a failed login."""
    where = account.url if account.password is not None else account.token_url
    match error:
        case AuthenticationError():
            return "check the user and the keys, and that the access key is not disabled on the platform"
        case UntrustedCertificateError():
            return f"give the private CA of {where} with --ca-file, or correct the address"
        case UpstreamConnectionError() | UpstreamTimeoutError():
            return f"check that this machine reaches {where} (name service, firewall), and the address"
        case ThrottledError() | ServerError() | UpstreamBusyError():
            return "try again in some minutes"
    return f"check the address of the login, {where}"
