"""A program driven through a pseudo-terminal, as a user at a keyboard would."""

import contextlib
import os
import pty
import re
import select
import signal
import time


class Terminal:
    """Starts a program on a terminal of its own, types at it, and waits for what it shows."""

    def __init__(self, command, *, cwd, env, columns=100):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(command[0], command, {**env, "COLUMNS": str(columns)})
            finally:
                os._exit(127)
        self.shown = ""

    def type(self, line):
        os.write(self._fd, line.encode() + b"\r")

    def press(self, key):
        os.write(self._fd, key)

    def expect(self, pattern, timeout=60.0):
        """Text up to and with the first match of `pattern` in what has not been read yet."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.shown)
            if match:
                seen, self.shown = self.shown[: match.end()], self.shown[match.end() :]
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} did not appear within {timeout:g} s; shown: {self.shown[-2000:]!r}")
            if not self._read(min(1.0, max(0.0, deadline - time.monotonic()))):
                raise AssertionError(f"the program ended before {pattern!r} appeared; shown: {self.shown[-2000:]!r}")

    def _read(self, timeout):
        if not select.select([self._fd], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux: the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._fd)
