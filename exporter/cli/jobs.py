"""`hpc-exporter jobs`: lists the jobs of configured members, and deletes jobs when told so twice."""

import argparse
from pathlib import Path

from exporter.cli import listing, options
from exporter.records import JobState

LIST_EXAMPLE = """examples:
  hpc-exporter jobs list --cluster=kunshan --user=bob
  hpc-exporter jobs list --state=queued --state=held
  hpc-exporter jobs list --format=json | jq -r '.jobs[] | select(.name == "test") | .id'

Members whose jobs could not be read, or not completely, are named on standard error, and the exit status is 1. Cores,
GPUs and DCUs are shown as in use/requested; "?" is what the API did not say. How long jobs that ended are still listed is
the region's affair. The shape of the JSON is in config/jobs-list.schema.json.
"""

DELETE_EXAMPLE = """examples:
  hpc-exporter jobs delete --cluster=kunshan --user=test 1466591 1466592          shows what would be deleted
  hpc-exporter jobs delete --cluster=kunshan --user=test --yes 1466591 1466592    deletes it
  hpc-exporter jobs list --cluster=kunshan --user=test --state=queued --format=json | jq -r '.jobs[].id' |
    hpc-exporter jobs delete --cluster=kunshan --user=test --yes --i-mean=250 --from-file=-

What --yes does:
  1. It looks the jobs up. Those that are not listed, or have ended, are not asked for: nothing is sent for a mistyped id.
     Where no list of the user's jobs may be read, or none completely, ids that are not listed are taken as they are;
     where the lists cannot be read just now, nothing is sent.
  2. It sends one DELETE for all jobs. It is never repeated, whatever comes back; what the region says is shown, not
     believed.
  3. It looks again, for as long as --wait, and reports each job as
       gone         no longer listed, or listed as ended
       still there  listed as before
       unverified   the jobs could not be listed completely, so nothing is known
       not found    was not listed before, and nothing was sent for it
       not sent     something came in between, and nothing was sent for it
     Exit status: 0 only if all are gone, 1 otherwise. Running it again is safe.
  4. It writes one line of JSON a job to --audit-file: when, who, which job, what was sent, what came of it. Also after
     Ctrl-C or SIGTERM; only of a process that is killed there is no more than a word on standard error before the DELETE.
     A file that cannot be opened keeps it from beginning. The shape of the lines is in config/audit.schema.json.

Where jobs are looked up: in the lists of the groups whose configured member the user is, else in the list of the token's
own user. The token is the user's own, where `users` in the configuration gives one, or else the region's.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "jobs",
        help="list the jobs of members; delete jobs",
        description="Work with single jobs.",
        epilog="example:\n  hpc-exporter jobs list --help\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="jobs_command", metavar="COMMAND", required=True)
    add_list(commands)
    add_delete(commands)


def add_list(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "list",
        help="list the jobs of configured members",
        description="List the jobs of the members in the configuration. A filter given several times lets any of its "
        "values pass; different filters must all agree.",
        epilog=LIST_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_config_file(parser)
    for flag, text in (
        ("cluster", "only this region"),
        ("group", "only this group: its label or its id"),
        ("user", "only this user"),
    ):
        parser.add_argument(f"--{flag}", action="append", metavar="NAME", help=text)
    parser.add_argument(
        "--state",
        action="append",
        choices=list(map(str, JobState)),
        metavar="STATE",
        help=f"only jobs in this state; can be given several times, like the other filters: {', '.join(JobState)}",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="what to print (default: %(default)s)"
    )
    options.add_logging(parser, default="warning")
    parser.set_defaults(run=listing.run)


def add_delete(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "delete",
        help="delete jobs of one user; without --yes only shows them",
        description="Show jobs of one user, and delete them with --yes.",
        epilog=DELETE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_config_file(parser)
    parser.add_argument("job_ids", nargs="*", metavar="JOB_ID", help="which jobs; one given twice counts once")
    parser.add_argument("--cluster", required=True, metavar="NAME", help="the region, as the configuration names it")
    parser.add_argument("--user", required=True, metavar="NAME", help="the scheduler user whose jobs they are")
    parser.add_argument(
        "--from-file",
        type=Path,
        metavar="FILE",
        help="more ids, one a line; - is standard input; what follows # is a comment",
    )
    parser.add_argument("--yes", action="store_true", help="delete; without it nothing is")
    parser.add_argument(
        "--i-mean", type=options.non_negative, metavar="N", help="the exact number of jobs, needed above 100"
    )
    parser.add_argument("--scheduler-id", metavar="ID", help="the scheduler, needed where the region has several")
    parser.add_argument(
        "--wait",
        type=options.duration,
        default="30s",
        metavar="DURATION",
        help="how long to look whether the jobs are gone; 0 looks once (default: %(default)s)",
    )
    parser.add_argument(
        "--parameters-in",
        choices=("body", "query"),
        default="body",
        help="where the DELETE carries its parameters; query is for regions that drop the bodies of DELETE requests "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--audit-file", type=Path, metavar="FILE", help="append the audit lines here (default: standard error)"
    )
    options.add_logging(parser, default="warning")
    parser.set_defaults(run=run_delete)


def run_delete(args: argparse.Namespace) -> int:
    # Not at the top: a process that serves loads this module, but must not even hold what deletes.
    from exporter.cli import deleting  # noqa: PLC0415 - see above

    return deleting.run(args)
