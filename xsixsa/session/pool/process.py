"""What a helper process does to itself before it works: quiet, single-threaded, and gone with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from xsixsa.session.settings import optional

__all__ = ["detach", "die_with_parent", "fork", "forked_by_main_thread", "one_thread", "quiet_engine", "thread_control"]

_PR_SET_PDEATHSIG = 1
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def fork(child: Callable[[], None]) -> int:
    """Fork; the new process runs `child` and leaves by ``os._exit``, never through the parent's clean-up.

    XSPEC registers exit handlers that run shell commands, and test runners and notebooks have their own.

    Returns
    -------
    Process id of the child.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns when threads exist; the child only runs the engine, which starts none
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    _run_and_leave(child)


def _run_and_leave(child: Callable[[], None]) -> NoReturn:
    status = 70
    try:
        child()
        status = 0
    except BaseException:  # nothing may travel up into the parent's code
        with contextlib.suppress(BaseException):
            import traceback

            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def die_with_parent(parent: int, *, kernel: bool = True) -> None:
    """Ask the kernel to kill this process when its parent dies, and leave at once if it already has.

    The kernel's promise is about the *thread* that forked: pass ``kernel=False`` where that thread may end before
    its process does. Only Linux has it; elsewhere the caller looks at its parent from time to time.
    """
    if kernel and sys.platform.startswith("linux"):
        optional(lambda: ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(0)


def forked_by_main_thread() -> bool:
    """Whether the calling thread lives as long as its process."""
    return threading.current_thread() is threading.main_thread()


def detach(error_descriptor: int) -> None:
    """Let go of the user's terminal, notebook and Ctrl-C; errors go to `error_descriptor`."""
    # what was loaded before stays shared with the parent as long as the garbage collector leaves it alone
    gc.freeze()
    faulthandler.disable()  # it may hold the user's terminal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # whatever asks a question gets an end of file
    os.dup2(null, 1)
    os.dup2(error_descriptor, 2)
    os.close(null)
    # PyXspec prints through sys.stdout, which in a notebook belongs to a thread that does not exist here
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def one_thread() -> None:
    """Keep linear algebra on one thread, so that results do not depend on the machine's load or size."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = "1"
    # absent or confused by a library it does not know: the environment variables still hold
    optional(_limit_loaded_libraries)


def _limit_loaded_libraries() -> None:
    threadpoolctl = thread_control()
    if threadpoolctl is not None:
        threadpoolctl.threadpool_limits(1)


def thread_control() -> ModuleType | None:
    """``threadpoolctl``, if there: the parent calls this before it forks, so that no child imports it again."""
    return optional(lambda: importlib.import_module("threadpoolctl"))


def quiet_engine(xspec: ModuleType) -> None:
    """Switch off what prompts, prints or changes the likelihood; this process's copy is never put back."""
    fit, xset = xspec.Fit, xspec.Xset
    optional(lambda: setattr(xset, "allowPrompting", False))
    for name in ("chatter", "logChatter"):
        optional(lambda name=name: setattr(xset, name, 0))
    if optional(lambda: xset.autosave) is not None:
        optional(lambda: setattr(xset, "autosave", "off"))
    optional(lambda: setattr(fit, "query", "yes"))
    if optional(lambda: fit.bayes, "off") != "off":
        fit.bayes = "off"
    optional(lambda: fit.renorm("none"))
