"""How commands and processes end: with one line that says why, and an exit code that says who can do something about it."""

import logging
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from deploy.lifeline import follow_lifeline, last_words
from deploy.process_log import start_log
from storage.errors import FeedbackLoopError, exit_code, temporary_reason
from storage.settings import Settings

log = logging.getLogger(__name__)


def reason_of(error: Exception) -> str | None:
    """One line for a person; None for what nobody expected."""
    return temporary_reason(error) or (str(error) if isinstance(error, FeedbackLoopError) else None)


def complain(reason: str) -> None:
    with suppress(OSError):  # stderr may be a file on a full disk
        sys.stderr.write(f"feedbackloop: {reason.rstrip()}\n")


def run_process(module: str) -> NoReturn:
    """Call the module's ``run`` with the settings and end with it, saying why where nobody asked for the end.

    The interpreter is not taken apart: threads that wait (the lifeline's, a pool's) still hold modules then, and DuckDB's would print
    thirty lines about what of it is left over.
    """
    start_log()
    follow_lifeline()
    code = 0
    try:
        import_module(module).run(Settings.read())
    except Exception as error:
        code = exit_code(error)
        if (reason := reason_of(error)) is None:
            log.exception("this process crashed")
            reason = f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())  # one line: the supervisor passes it on
        last_words(reason)
        complain(reason)
    logging.shutdown()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
