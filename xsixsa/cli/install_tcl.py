"""``xsixsa install-tcl``: the `sixsa` command for the XSPEC prompt."""

from __future__ import annotations

import argparse
import sys

from xsixsa.errors import UsageError

__all__ = ["add_parser", "install"]

_TEXT = """\
Makes the command `sixsa` known at the XSPEC prompt: writes ~/.xspec/sixsa.tcl, which records this Python interpreter,
and one line in ~/.xspec/xspec.rc that reads it. Prints the line that batch scripts need, where XSPEC does not read
xspec.rc. Running it again changes nothing unless the interpreter or the package has moved."""


def add_parser(commands) -> None:
    """Add the subcommand to a parser's `commands`."""
    parser = commands.add_parser(
        "install-tcl",
        help="make the command `sixsa` known at the XSPEC prompt",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--remove", action="store_true", help="take it away again")
    parser.set_defaults(command="install_tcl")


def install(arguments: argparse.Namespace) -> bool:
    """Install or remove, after asking."""
    from xsixsa.prompt.install import install_tcl, plan, remove_tcl

    if arguments.remove:
        done = remove_tcl()
        print("\n".join(done) if done else "sixsa is not installed; nothing to remove")
        return True
    installation = plan()
    if not installation.changes:
        print(f"sixsa is installed already, in {installation.rc}")
    else:
        if not arguments.yes and not _agreed(installation.changes):
            print("nothing was changed")
            return True
        install_tcl(installation)
        print(f"sixsa is installed: start XSPEC and type `sixsa help` ({installation.rc})")
    print("a batch script (xspec - script.xcm) reads no xspec.rc; let it begin with")
    print(f"  {installation.batch_line}")
    return True


def _agreed(changes: tuple[str, ...]) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask: give --yes to " + " and ".join(changes))
    try:
        answer = input(f"{' and '.join(changes)}? [y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
