"""Runs unit tests on code that a model wrote: in a process of its own, with limits, and only if it is of a small part of Python.

This is **not a sandbox against a hostile model**. It stops accidents: endless loops, memory, files, imports. Two walls stand in the way of
the rest, an allow-list of syntax, names and attributes, and a process with an empty folder, an empty environment and limits; but it is the
same user on the same machine, and allow-lists in Python have been broken before. For a real code model run this file in a container without
network (``docker run --network none --read-only --user 65534``), under gVisor, or in a virtual machine that is thrown away.
"""

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

SECONDS = 1  # of processor time for all tests of a function
BUILTINS = (
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "len", "list", "max", "min", "pow", "range", "reversed",
    "round", "set", "sorted", "str", "sum", "tuple", "zip",
)  # fmt: skip
ATTRIBUTES = (
    "add", "append", "count", "endswith", "extend", "get", "index", "insert", "isalpha", "isdigit", "items", "join", "keys", "lower", "pop",
    "remove", "replace", "reverse", "sort", "split", "startswith", "strip", "update", "upper", "values",
)  # fmt: skip
SYNTAX = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For, ast.While,
    ast.Break, ast.Continue, ast.Pass, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call, ast.keyword, ast.Constant,
    ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.comprehension, ast.Lambda, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip

_CHILD = """
import json, resource, sys
for name, most in (("CPU", {seconds}), ("AS", 1 << 29), ("FSIZE", 0), ("NOFILE", 3), ("CORE", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
    except (ValueError, OSError):
        pass  # macOS has no limit of the address space
sys.setrecursionlimit(200)
asked = json.loads(sys.stdin.read())
builtins = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
names = {{"__builtins__": {{name: builtins[name] for name in {builtins}}}}}
passed = 0
try:
    exec(compile(asked["code"], "generated", "exec"), names)
    for given, expected in asked["tests"]:
        try:
            passed += json.loads(json.dumps(names["f"](*given))) == expected
        except Exception:
            pass
except Exception:
    pass
sys.stdout.write(str(passed))
"""


def share_passed(code: str, tests: Sequence[tuple[Sequence[Any], Any]]) -> float:
    """The share of tests that the function ``f`` passes; a test is its arguments and what it has to return. 0 for code that is refused."""
    return _share(code, json.dumps(list(tests)))


def refusal(code: str) -> str | None:
    """Why the code is not run; None for a module of functions in the allowed part of Python."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"no Python: {error}"
    if not tree.body or not all(isinstance(statement, ast.FunctionDef) for statement in tree.body):
        return "something beside functions"
    for node in ast.walk(tree):
        if not isinstance(node, SYNTAX):
            return f"{type(node).__name__} is not allowed"
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name.startswith("_")):
            return "decorators and private names are not allowed"
        if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
            return f"the attribute {node.attr} is not allowed"
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return f"the name {node.id} is not allowed"
    return None


@lru_cache(maxsize=10_000)
def _share(code: str, tests: str) -> float:
    if refusal(code) is not None:
        return 0.0
    child = _CHILD.format(seconds=SECONDS, builtins=repr(BUILTINS))
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", child],
                input=f'{{"code": {json.dumps(code)}, "tests": {tests}}}',
                capture_output=True,
                text=True,
                cwd=empty,
                env={},
                timeout=10 * SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 0.0
    passed = done.stdout.strip()
    return int(passed) / len(json.loads(tests)) if done.returncode == 0 and passed.isdigit() else 0.0
