"""No background task may die unseen: each is supervised, or stands here with the reason why it need not be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import exporter

PACKAGE = Path(exporter.__file__).parent
STARTING = {"create_task", "ensure_future"}
# Tasks that are started other than under `supervise`, by module or function, and the owner of their results.
SEEN = {
    "app/application.py Application._follow_members": "a sleep and an event, awaited there",
    "app/application.py Application._replace": "awaited by the reload",
    "app/reload.py SharedReload.request": "logs its own failures; those who requested it get them, too",
    "app/tracker.py TrackerSwitch.open": "awaited by the reload, or closed by a callback once it has ended",
    "cli/check.py _tried": "awaited there",
    "cli/serve.py unless": "awaited there",
    "cli/top.py _top": "its group raises what it raises",
    "polling/scheduler.py Scheduler._start": "a poll logs what it did not foresee, and the target goes on",
    "supervise.py ShortTasks.start": "its failure is logged by a callback",
    "http/tokens.py TokenCache.log_in": "awaited by the polls that share it",
    "tracking/service.py": "awaited by those who hand in a listing, and by the writer",
    "web/passwords.py": "one password each, awaited by its request",
}


def starts(tree: ast.AST, where: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls that start a task, each with the function that it is in."""
    for node in ast.iter_child_nodes(tree):
        inside = (
            (*where, node.name) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else where
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STARTING:
            yield ".".join(inside), node
        yield from starts(node, inside)


def supervised(call: ast.Call) -> bool:
    work = call.args[0]
    return isinstance(work, ast.Call) and isinstance(work.func, ast.Name) and work.func.id == "supervise"


def test_every_task_is_supervised_or_seen() -> None:
    unseen = [
        f"{module} {function}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for module in [str(file.relative_to(PACKAGE))]
        for function, call in starts(ast.parse(file.read_text(encoding="utf-8")))
        if not supervised(call) and not {module, f"{module} {function}"} & SEEN.keys()
    ]
    assert unseen == []
