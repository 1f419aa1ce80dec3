"""How commands and processes exit: with a one-line reason and an exit code for its kind (``storage.errors.exit_code``)."""

import logging
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from deploy.lifeline import follow_lifeline, send_exit_reason
from deploy.process_log import start_log
from storage.errors import FeedbackLoopError, exit_code, temporary_reason
from storage.settings import Settings

log = logging.getLogger(__name__)


def reason_of(error: Exception) -> str | None:
    """A one-line message for an expected error; None for any other."""
    return temporary_reason(error) or (str(error) if isinstance(error, FeedbackLoopError) else None)


def print_error(reason: str) -> None:
    with suppress(OSError):  # stderr may be a file on a full disk
        sys.stderr.write(f"feedbackloop: {reason.rstrip()}\n")


def run_process(module: str) -> NoReturn:
    """Call the module's ``run`` with the settings, then exit the process, with a reason if it failed.

    Exits without finalizing the interpreter: waiting threads (the lifeline's, a pool's) still hold modules then, and DuckDB's would print
    thirty lines about leaked objects.
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
        send_exit_reason(reason)
        print_error(reason)
    logging.shutdown()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
