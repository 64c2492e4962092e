"""The user's own contestants: those that the command of a run names, or its call in Python."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from bench.results.summary import Summary

WORD = re.compile(r"\+{0,2}contestants\.([\w-]+)[.=]|images=(.+)")
CALL = "bench.evaluate("


def added(summary: Summary) -> set[str]:
    """The contestants that the user's command adds or changes, and its folder of images."""
    keys = {re.escape(key) for text in _commands(summary.environment) for key in _keys(text)}
    own = re.compile(rf"(?:{'|'.join(sorted(keys))})(?:-\d+step)?(?: \(.*\))?")
    return {c.name for c in summary.contestants if keys and own.fullmatch(c.name)}


def _commands(environment: Mapping[str, Any]) -> Iterator[str]:
    """The command of a run; for several runs, the command of each."""
    for key, value in environment.items():
        if key == "command":
            yield str(value)
        elif isinstance(value, Mapping):
            yield from _commands(value)


def _keys(command: str) -> Iterator[str]:
    for word in _of_call(command) if command.startswith(CALL) else _of_shell(command):
        match = WORD.match(word)
        if match is not None:
            yield match[1] or PurePath(match[2]).name


def _of_shell(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # of an older version, which did not quote
        return command.split()


def _of_call(command: str) -> Iterator[str]:
    """The changes of a call as words of a command line: contestants and images alone."""
    try:
        call = ast.parse(command, mode="eval").body
    except SyntaxError:
        return
    for given in call.keywords if isinstance(call, ast.Call) else ():
        named = _words(given.value.keys if isinstance(given.value, ast.Dict) else ())
        if given.arg is None:  # **{"contestants.mine.lora": ...}
            yield from (f"{key}=" for key in named)
        elif given.arg == "contestants":
            yield from (f"contestants.{key}=" for key in named)
        elif given.arg == "images":  # a string, or a Path around it
            yield from (f"images={name}" for name in _words(ast.walk(given.value)))


def _words(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    """The strings among them."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
