"""`python -m exporter` is `hpc-exporter`."""

import signal
from typing import NoReturn


def entry_point() -> NoReturn:
    """Run the command line; the entry point of the installed command.

    An interrupt while modules are loaded, which takes up to a second, ends the process as it would end others: without a
    traceback of these modules.
    """
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from exporter.cli.main import run_process  # noqa: PLC0415 - this is what takes long

    signal.signal(signal.SIGINT, interrupted)
    run_process()


if __name__ == "__main__":
    entry_point()
