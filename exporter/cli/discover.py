"""`hpc-exporter discover`: from an account's access key to a configuration ready to use."""

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from exporter.app.tls import context_for
from exporter.cli import options
from exporter.clock import SystemClock
from exporter.config import Account, FileSecret, InlineSecret, Secret, Tls, UnusableSecretError, load
from exporter.config.model import TOKEN_URL
from exporter.errors import ExporterError, PollError
from exporter.scnet import AccessKeyLogin, PasswordLogin
from exporter.scnet.discovery import Found, discover
from exporter.scnet.login import Login
from exporter.upstream import Settings, Upstream

# The public platform answers logins and everything else on two hosts.
PUBLIC_AC_URL = "https://www.scnet.cn"
ACCESS_KEY, SECRET_KEY = "SCNET_ACCESS_KEY", "SCNET_SECRET_KEY"

EXAMPLE = f"""examples:
  {ACCESS_KEY}=... {SECRET_KEY}=... hpc-exporter discover --user=alice > exporter.yml
  hpc-exporter discover --user=alice --access-key-file=ak --secret-key-file=sk > exporter.yml
  hpc-exporter discover --config.file=exporter.yml --account=lab

The keys are read from files or from the environment, never from the command line, where everybody can see them.
"""


class DiscoverError(ExporterError):
    """The account could not be asked."""


class UsageError(ExporterError):
    """What was given does not say which account to ask for."""


@dataclass(frozen=True, slots=True)
class Known:
    """An account, and the lines with which a configuration refers to its secrets."""

    account: Account
    references: tuple[str, ...]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "discover",
        help="write a configuration from an account's access key",
        description="Log in with an access key, ask every region of the account for its addresses, scheduler user and "
        "schedulers, and print a configuration. A region that cannot be asked is a comment with the reason.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--user", help="the platform login")
    parser.add_argument(
        "--access-key-file", type=Path, metavar="FILE", help=f"holds the access key (default: ${ACCESS_KEY})"
    )
    parser.add_argument(
        "--secret-key-file", type=Path, metavar="FILE", help=f"holds the secret key (default: ${SECRET_KEY})"
    )
    parser.add_argument("--token-url", default=TOKEN_URL, metavar="URL", help="where to log in (default: %(default)s)")
    parser.add_argument(
        "--ac-url",
        metavar="URL",
        help=f"where regions are asked for (default: {PUBLIC_AC_URL}, or the host of another --token-url)",
    )
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="private CA of these hosts")
    parser.add_argument("--insecure-skip-verify", action="store_true", help="do not verify certificates")
    parser.add_argument(
        "--config.file", dest="config_file", type=Path, metavar="FILE", help="take the account from this configuration"
    )
    parser.add_argument("--account", metavar="NAME", help="which account of the configuration (default: its first)")
    options.add_logging(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options.setup_logging(args)
    try:
        known = from_config(args) if args.config_file else from_arguments(args)
    except UsageError as error:
        print(f"hpc-exporter discover: {error}", file=sys.stderr)
        return 2
    ac_url = (
        (args.ac_url or known.account.url or default_ac_url(known.account.token_url)).rstrip("/").removesuffix("/ac")
    )
    found = asyncio.run(ask(known.account, ac_url))
    print("\n".join(configuration(known, ac_url, found)))
    return 0


def from_config(args: argparse.Namespace) -> Known:
    """The account named on the command line, or the first one, of a configuration. Raises ConfigurationError."""
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
    return Known(account, tuple(reference(key, secret, names[key]) for key, secret in keys if secret is not None))


def from_arguments(args: argparse.Namespace) -> Known:
    """The account of the flags and the environment."""
    if not args.user:
        raise UsageError("say which login with --user, or give a configuration with --config.file")
    access_key = given_secret("access_key", args.access_key_file, ACCESS_KEY)
    secret_key = given_secret("secret_key", args.secret_key_file, SECRET_KEY)
    account = Account(
        name=slug(args.user, set()),
        user=args.user,
        access_key=access_key,
        secret_key=secret_key,
        token_url=args.token_url,
        tls=Tls(ca_file=args.ca_file, insecure_skip_verify=args.insecure_skip_verify),
    )
    return Known(
        account, (reference("access_key", access_key, ACCESS_KEY), reference("secret_key", secret_key, SECRET_KEY))
    )


def given_secret(key: str, file: Path | None, variable: str) -> Secret:
    """A key from its file or from the environment. Raises UsageError."""
    try:
        if file is not None:
            return FileSecret(file.absolute(), f"{key}_file {file}")
        return InlineSecret(os.environ.get(variable, ""), variable)
    except UnusableSecretError as error:
        where = f"{file}" if file is not None else f"the environment variable {variable}"
        flag = f"--{key.replace('_', '-')}-file"
        raise UsageError(f"no usable key in {where}: {error}; give a file with {flag} or set {variable}") from None


def reference(key: str, secret: Secret, variable: str) -> str:
    """How a configuration refers to a secret: never with the secret itself."""
    if isinstance(secret, FileSecret):
        return f"{key}_file: {quoted(str(secret.path.absolute()))}"
    return f"{key}: ${{{variable}}}"


def default_ac_url(token_url: str) -> str:
    """The public platform's AC host, or the host that logs in where that is another."""
    if token_url == TOKEN_URL:
        return PUBLIC_AC_URL
    parts = urlsplit(token_url)
    return f"{parts.scheme}://{parts.netloc}"


async def ask(account: Account, ac_url: str) -> list[Found]:
    """Log in and ask for all regions. Raises DiscoverError where the login fails, ConfigurationError for a bad CA file."""
    tls = await asyncio.to_thread(context_for, account.tls, account.place or "command line:1:1")
    upstream = Upstream(
        Settings(name=account.name),
        slots=asyncio.Semaphore(1),
        observer=Nobody(),
        clock=SystemClock(),
        tls=tls,
    )
    try:
        return await discover(upstream, login_of(account, ac_url), ac_url, time.time())
    except PollError as error:
        raise DiscoverError(f"the login of {account.user} failed: {error}") from None
    finally:
        await upstream.close()


def login_of(account: Account, ac_url: str) -> Login:
    if account.password is not None:
        return PasswordLogin(account.user, account.password, account.org_id or "", account.url or ac_url)
    if account.access_key is None or account.secret_key is None:
        raise UsageError(f"account {account.name} has neither an access key nor a password")
    return AccessKeyLogin(account.user, account.access_key, account.secret_key, account.token_url)


class Nobody:
    """Counts nothing: there are no metrics here."""

    def request(self, source: str, endpoint: str, code: int | None) -> None: ...
    def api_error(self, source: str, endpoint: str, api_code: str) -> None: ...
    def retry(self, source: str, endpoint: str) -> None: ...


def configuration(known: Known, ac_url: str, found: list[Found]) -> Iterable[str]:
    """The lines of a configuration with every region that can be polled, and comments about the others."""
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
        yield f"    url: {quoted(account.url or '')}"
    yield from tls_lines(account.tls)
    usable = [region for region in found if region.hpc_url]
    if usable:
        yield "clusters:"
    taken: set[str] = set()
    for region in usable:
        yield from region_lines(region, slug(region.name or region.cluster_id, taken), account, ac_url)
    for region in found:
        if not region.hpc_url:
            yield f"# Left out: {comment(region.name)} (cluster_id {comment(region.cluster_id)}): {comment(region.problem)}"


def region_lines(region: Found, name: str, account: Account, ac_url: str) -> Iterable[str]:
    yield f"  - name: {quoted(name)}   # {comment(region.name)}; label hpc_cluster: change it to your liking"
    yield f"    cluster_id: {quoted(region.cluster_id)}"
    yield f"    hpc_url: {quoted(region.hpc_url)}"
    yield f"    ac_url: {quoted(ac_url)}"
    yield f"    account: {quoted(account.name)}"
    yield from tls_lines(account.tls)
    for scheduler in region.schedulers:
        yield f"    # scheduler {comment(scheduler.id)}: {comment(scheduler.name)} ({comment(scheduler.type)})"
    if region.problem:
        yield f"    # {comment(region.problem)}"
    if region.user:
        yield f"    users: [{quoted(region.user)}]"
    yield "    # members:                      # to see the jobs of a group that you administer"
    yield "    #   - group_id: 533686286955839488"
    yield "    #     group: chemistry"
    yield "    #     users: [test, bob]"


def tls_lines(tls: Tls) -> Iterable[str]:
    if tls.ca_file is not None:
        yield f"    tls: {{ca_file: {quoted(str(tls.ca_file.absolute()))}}}"
    elif tls.insecure_skip_verify:
        yield "    tls: {insecure_skip_verify: true}"


def quoted(text: str) -> str:
    """A YAML scalar that is this very text: JSON is YAML, and `$${` stands for a literal `${`."""
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)


def comment(text: str) -> str:
    """Text that stays within its comment."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def slug(text: str, taken: set[str]) -> str:
    """A short name for a label, not in `taken`, to which it is added. Chinese names stay as they are."""
    base = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "region"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name
