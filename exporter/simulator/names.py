"""Names that people give to jobs: mostly plain, some that break careless programs."""

import random
import time

_PROGRAMS = ("COMSOL_GUI", "vasp_std", "lammps", "gromacs_md", "train-resnet50", "wrf.exe", "matlab_batch", "bash")

# Each holds something that a log line, a label value, a URL, a table or a format string has to escape.
ODD_NAMES = (
    'run "final" v2',
    "C:\\jobs\\new",
    "two\nlines",
    "back\\nslash-n",
    "100%s done %d",
    "../../etc/passwd",
    "a/b/c",
    "分子动力学_第3轮",
    "🚀 train 🧪",
    "{job='x'}",
    "tab\there",
    "<b>bold</b>",
    "it's; rm -rf",
    "",
    "x" * 300,
)


def job_name(rng: random.Random, submitted: float, oddly_named: float) -> str:
    """A name; `oddly_named` is the share of hostile ones, `submitted` the Unix time that plain ones carry."""
    if rng.random() < oddly_named:
        return rng.choice(ODD_NAMES)
    return f"{rng.choice(_PROGRAMS)}_{time.strftime('%m%d_%H%M%S', time.gmtime(submitted))}"
