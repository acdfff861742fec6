"""`hpc-exporter completion`: scripts with which shells complete the command line."""

import argparse

import shtab

from exporter.cli.commands import Command, Flag
from exporter.cli.options import one_of
from exporter.cli.output import write

EXAMPLE = """examples:
  hpc-exporter completion bash \\
    > ~/.local/share/bash-completion/completions/hpc-exporter
  hpc-exporter completion zsh > "${fpath[1]}/_hpc-exporter"
  hpc-exporter completion fish > ~/.config/fish/completions/hpc-exporter.fish
"""

# Bash takes --flag=value for three words, and shtab's script for bash knows only --flag value.
BASH_EQUALS = """
_hpc_exporter() {
  local -a words=()
  local index word cword=$COMP_CWORD
  for index in "${!COMP_WORDS[@]}"; do
    word=${COMP_WORDS[index]}
    if [[ $word == "=" && $index -gt 0 && $index -lt $COMP_CWORD ]]; then
      cword=$((cword - 1))
    elif [[ $word == "=" && $index -eq $COMP_CWORD ]]; then
      words+=("")
    else
      words+=("$word")
    fi
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$cword
  _shtab_hpc_exporter "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
}
complete -o bashdefault -F _hpc_exporter hpc-exporter
"""


COMMAND = Command(
    "print a completion script for a shell",
    "Print a script that lets a shell complete commands, flags and file names. It does not start Python at a TAB, so print it "
    "again after an update.",
    EXAMPLE,
    Flag("shell", "the shell", one_of("bash", "zsh", "fish")),
)


def run(args: argparse.Namespace) -> int:
    write(script(args.parser, args.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script for a shell."""
    return str(shtab.complete(parser, shell=shell)) + (BASH_EQUALS if shell == "bash" else "")
