"""`hpc-exporter discover`: from an account's access key to a configuration ready to use."""

import argparse
import asyncio
import math
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from exporter.app.tls import context_for
from exporter.cli import options
from exporter.cli.options import UsageError
from exporter.cli.output import write
from exporter.clock import SystemClock
from exporter.config import Account, Cluster, FileSecret, InlineSecret, Secret, Tls, UnusableSecretError, load
from exporter.config.model import PLATFORM_URL, TOKEN_URL
from exporter.config.values import AcUrl, Name, Url
from exporter.errors import ConfigurationError, ExporterError, PollError
from exporter.http import Login, Settings, Upstream
from exporter.sources.scnet.discovery import Found, discover
from exporter.sources.scnet.login import AccessKeyLogin, PasswordLogin
from exporter.text import escaped, on_one_line

ACCESS_KEY, SECRET_KEY = "SCNET_ACCESS_KEY", "SCNET_SECRET_KEY"
# Keys that are sent in a header, which not every character survives; the secret key only signs.
HEADERS = frozenset({"access_key"})

EXAMPLE = f"""examples:
  {ACCESS_KEY}=... {SECRET_KEY}=... \\
    hpc-exporter discover --user=alice > exporter.yml
  hpc-exporter discover --user=alice \\
    --access-key-file=ak --secret-key-file=sk > exporter.yml
  hpc-exporter discover --config.file=exporter.yml --account=lab

The keys are read from files or from the environment, never from the command line, where every user can see them.
Exit status: 0 if at least one region can be polled, 1 if none can or the login fails, 2 for wrong usage.
"""


class DiscoverError(ExporterError):
    """The login failed, or no region of the account can be polled."""


@dataclass(frozen=True, slots=True)
class Known:
    """An account, and the lines with which a configuration refers to its secrets."""

    account: Account
    references: tuple[str, ...]


def add_parser(subparsers: options.Subparsers) -> None:
    parser = subparsers.add_parser(
        "discover",
        help="write a configuration from an account's access key",
        description="Log in with an access key, ask every region of the account for its addresses, scheduler user and "
        "schedulers, and print a configuration. A region that cannot be asked is a comment with the reason.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--user", type=_checked(TypeAdapter(Name)), help="the platform login")
    options.add_path(parser, "--access-key-file", help=f"holds the access key (default: ${ACCESS_KEY})")
    options.add_path(parser, "--secret-key-file", help=f"holds the secret key (default: ${SECRET_KEY})")
    parser.add_argument(
        "--token-url", type=_checked(TypeAdapter(Url)), metavar="URL", help=f"where to log in (default: {TOKEN_URL})"
    )
    parser.add_argument(
        "--ac-url",
        type=_checked(TypeAdapter(AcUrl)),
        metavar="URL",
        help=f"where to request the regions (default: {PLATFORM_URL}, or the host of another --token-url)",
    )
    options.add_path(parser, "--ca-file", help="private CA of these hosts")
    parser.add_argument("--insecure-skip-verify", action="store_true", help="do not verify certificates")
    options.add_path(parser, "--config.file", dest="config_file", help="take the account from this configuration")
    parser.add_argument("--account", metavar="NAME", help="which account of the configuration (default: its first)")
    parser.add_argument(
        "--timeout", type=options.duration, default=10.0, metavar="DURATION", help="of one request (default: 10s)"
    )
    options.add_logging(parser)
    parser.set_defaults(run=run)


def _checked(adapter: TypeAdapter[str]) -> Callable[[str], str]:
    """Return an argparse type that accepts the same values as the configuration."""

    def check(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(_reason(error)) from None

    return check


def _reason(error: ValidationError) -> str:
    """Return the first problem, without the value: that may be hostile, or a secret."""
    return error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")


def run(args: argparse.Namespace) -> int:
    options.setup_logging(args)
    known = _from_config(args) if args.config_file else _from_arguments(args)
    tls = _trusted(known.account.tls)
    ac_url = args.ac_url or known.account.url
    settings = Settings(name=known.account.name, timeout=args.timeout, retries=1)
    found = asyncio.run(_ask(known.account, ac_url, tls, settings))
    regions = [checked_region(region, known.account, ac_url) for region in found]
    write("".join(f"{line}\n" for line in configuration(known, ac_url, regions)))
    if not any(region.hpc_url for region in regions):
        raise DiscoverError(f"no region of {known.account.user} can be polled; the configuration says why")
    return 0


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


async def _ask(account: Account, ac_url: str, tls: ssl.SSLContext, settings: Settings) -> list[Found]:
    """Log in and ask for all regions. Raises DiscoverError where the login fails."""
    slots = asyncio.Semaphore(settings.max_concurrency)
    upstream = Upstream(settings, slots=slots, observer=NoMetrics(), clock=SystemClock(), tls=tls)
    try:
        return await discover(upstream, _login_of(account), ac_url, time.time())
    except PollError as error:
        raise DiscoverError(f"the login of {account.user} failed: {error}") from None
    finally:
        await upstream.close()


def _login_of(account: Account) -> Login:
    if account.password is not None:
        return PasswordLogin(account.user, account.password, account.org_id or "", account.url, account.name)
    if account.access_key is None or account.secret_key is None:
        raise UsageError(f"account {account.name} has neither an access key nor a password")
    return AccessKeyLogin(account.user, account.access_key, account.secret_key, account.token_url, account.name)


def checked_region(region: Found, account: Account, ac_url: str) -> Found:
    """Return the region as it is, or without its address where a configuration would not be accepted with it."""
    if not region.hpc_url:
        return region
    values = {"name": slug(region.name or region.cluster_id, set()), "cluster_id": region.cluster_id}
    urls = {"hpc_url": region.hpc_url, "ac_url": ac_url}
    users = {"users": [region.user]} if region.user else {}
    try:
        Cluster.model_validate({**values, **urls, **users, "account": account.name})
    except ValidationError as error:
        key = error.errors(include_url=False, include_input=False)[0]["loc"][0]
        return replace(region, hpc_url="", problem=f"what it says of itself cannot be used: {key} {_reason(error)}")
    return region


class NoMetrics:
    """An observer that counts nothing."""

    def request(self, source: str, collector: str, code: int | None) -> None: ...
    def api_error(self, source: str, collector: str, api_code: str) -> None: ...
    def retry(self, source: str, collector: str) -> None: ...


def configuration(known: Known, ac_url: str, found: list[Found]) -> Iterable[str]:
    """Yield the lines of a configuration with every region that can be polled, and comments about the others."""
    account = known.account
    yield f"# Written by hpc-exporter discover on {datetime.now(UTC):%Y-%m-%d}."
    yield "# Try it: hpc-exporter check --config.file=FILE, then hpc-exporter --config.file=FILE"
    yield "accounts:"
    yield f"  - name: {quoted(account.name)}"
    yield f"    user: {quoted(account.user)}"
    yield from (f"    {line}" for line in known.references)
    if account.password is None:
        yield f"    token_url: {quoted(account.token_url)}"
    else:
        yield f"    org_id: {quoted(account.org_id or '')}"
        yield f"    url: {quoted(account.url)}"
    yield from _tls_lines(account.tls)
    usable = [region for region in found if region.hpc_url]
    if usable:
        yield "clusters:"
    taken: set[str] = set()
    for region in usable:
        yield from _region_lines(region, slug(region.name or region.cluster_id, taken), account, ac_url)
    for region in found:
        if not region.hpc_url:
            yield f"# Left out: {on_one_line(region.name)} (cluster_id {on_one_line(region.cluster_id)}): {on_one_line(region.problem)}"


def _region_lines(region: Found, name: str, account: Account, ac_url: str) -> Iterable[str]:
    yield f"  # {on_one_line(region.name)}; its name is the label hpc_cluster: change it to your liking"
    yield f"  - name: {quoted(name)}"
    yield f"    cluster_id: {quoted(region.cluster_id)}"
    yield f"    hpc_url: {quoted(region.hpc_url)}"
    yield f"    ac_url: {quoted(ac_url)}"
    yield f"    account: {quoted(account.name)}"
    yield from _tls_lines(account.tls)
    for scheduler in region.schedulers:
        yield f"    # scheduler {on_one_line(scheduler.id)}: {on_one_line(scheduler.name)} ({on_one_line(scheduler.type)})"
    if region.problem:
        yield f"    # {on_one_line(region.problem)}"
    if region.user:
        yield f"    users: [{quoted(region.user)}]"
    yield "    # members:                      # to see the jobs of a group that you administer"
    yield "    #   - group_id: 533686286955839488"
    yield "    #     group: chemistry"
    yield "    #     users: [test, bob]"


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
