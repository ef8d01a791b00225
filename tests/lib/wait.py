"""Waiting for a condition instead of for time."""
import time

DEADLINE_S = 20  # generous: a loaded machine under a sanitizer; a good run never waits this long


def eventually(question, *, what="the condition", timeout=DEADLINE_S, interval=0.01):
    """Asks again and again until the answer is true; returns it. An exception counts as no."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = question()
            if last:
                return last
        except (OSError, AssertionError, ValueError, KeyError, IndexError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {timeout} s; last: {last!r}")
        time.sleep(interval)


def always(question, *, seconds, what="the condition"):
    """The answer must be true every time during a short span: for promises that nothing happens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert question(), f"{what} ceased to hold"
        time.sleep(0.01)
