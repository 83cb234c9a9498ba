"""What every test may rely on, wherever the tests run."""

from __future__ import annotations

import signal

# A program started in the background of a script ignores Ctrl-C, and hands that on to the processes it starts; the
# tests that press Ctrl-C need the ordinary answer to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
