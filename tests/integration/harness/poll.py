# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition: the only kind of waiting there is here."""
import time

LIMIT_SECONDS = 20
STEP_SECONDS = 0.004


def until(condition, what, seconds=LIMIT_SECONDS):
    """Call `condition` until it returns something true, and return that. Fails with `what` after `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > limit:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(STEP_SECONDS)


def given_time(attempt, milliseconds=100):
    """attempt(milliseconds), with twice the time after each, until it returns something true, which is returned. For what has
    to come about within a deadline that the test itself sets: how much of it that takes is the machine's affair."""
    while milliseconds < 2000 * LIMIT_SECONDS:
        result = attempt(milliseconds)
        if result:
            return result
        milliseconds *= 2
    raise AssertionError(f"not within {milliseconds // 2} ms")
