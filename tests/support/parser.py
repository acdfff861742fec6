"""The commands and flags of a parser, for which argparse has no public names."""

import argparse
from collections.abc import Iterator


def commands_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the commands of a parser, in the order of the help."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [group.choices[choice.dest] for group in groups for choice in group._choices_actions]


def all_commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the commands of a parser, each followed by those below it."""
    for command in commands_of(parser):
        yield command
        yield from all_commands(command)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the flags of a parser and of the commands below it."""
    return {
        flag for each in (parser, *all_commands(parser)) for action in each._actions for flag in action.option_strings
    }
