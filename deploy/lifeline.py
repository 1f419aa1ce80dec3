"""Two pipes between a process and its supervisor: one closes when the supervisor ends, one carries the reason why the process exits.

The reason does not go through the log: a full disk would lose it, and libraries may log after it.
"""

import contextlib
import os
import signal
import threading

LIFELINE = "FEEDBACKLOOP_LIFELINE"  # environment variable of a child: a file descriptor; the child stops when it closes
EXIT_REASON = "FEEDBACKLOOP_LAST_WORDS"  # environment variable of a child: a file descriptor for its exit reason
MAX_REASON = 4_096  # bytes: what a pipe takes at once

_reason_pipes: list[int] = []


def follow_lifeline() -> None:
    """In a child: stop this process when the supervisor's end of the pipe closes; keep the other pipe for :func:`send_exit_reason`."""
    if (reasons := os.environ.pop(EXIT_REASON, None)) is not None:
        os.set_inheritable(int(reasons), False)
        _reason_pipes.append(int(reasons))
    if (lifeline := os.environ.pop(LIFELINE, None)) is None:
        return
    descriptor = int(lifeline)
    os.set_inheritable(descriptor, False)

    def wait_for_supervisor() -> None:
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_supervisor, name="lifeline", daemon=True).start()


def send_exit_reason(reason: str) -> None:
    """In a child: tell the supervisor why this process exits, in one line."""
    for descriptor in _reason_pipes:
        with contextlib.suppress(OSError):
            os.write(descriptor, " ".join(reason.split()).encode()[:MAX_REASON])


def read_exit_reason(descriptor: int) -> str:
    """In the supervisor: the reason that an exited child sent; empty if it sent none."""
    os.set_blocking(descriptor, False)  # a grandchild may hold the other end
    try:
        return os.read(descriptor, MAX_REASON).decode(errors="replace")
    except BlockingIOError:
        return ""
