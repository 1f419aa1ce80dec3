"""What ties a process to its supervisor: a pipe that closes when the supervisor ends, and one for the reason why the process ends.

The reason does not go through the log: on a full disk nothing could be written there, and libraries say other things last.
"""

import contextlib
import os
import signal
import threading

LIFELINE = "FEEDBACKLOOP_LIFELINE"  # in the environment of a child: a file descriptor, at whose end it stops
LAST_WORDS = "FEEDBACKLOOP_LAST_WORDS"  # the same, for the reason why it ends
MOST = 4_096  # bytes of a reason: what a pipe takes at once

_words: list[int] = []


def follow_lifeline() -> None:
    """In a child: stop this process when the supervisor's end of the pipe closes, and keep the other pipe for :func:`last_words`."""
    if (words := os.environ.pop(LAST_WORDS, None)) is not None:
        os.set_inheritable(int(words), False)
        _words.append(int(words))
    if (lifeline := os.environ.pop(LIFELINE, None)) is None:
        return
    descriptor = int(lifeline)
    os.set_inheritable(descriptor, False)

    def wait_for_the_end() -> None:
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()


def last_words(reason: str) -> None:
    """In a child: tell the supervisor why this process ends, in one line."""
    for descriptor in _words:
        with contextlib.suppress(OSError):
            os.write(descriptor, " ".join(reason.split()).encode()[:MOST])


def read_last_words(descriptor: int) -> str:
    """In the supervisor: what a child that has ended said; empty where it had no time to."""
    os.set_blocking(descriptor, False)  # a grandchild may hold the other end
    try:
        return os.read(descriptor, MOST).decode(errors="replace")
    except BlockingIOError:
        return ""
