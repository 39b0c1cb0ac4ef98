"""Takes the place of the Python side: reads the hand-over as the real one does, and does what SIXSA_STANDIN says."""

import os
import signal
import sys
import time
from pathlib import Path

from xsixsa.prompt.handover import read_hand_over
from xsixsa.prompt.records import write_records

HOSTILE = '[file delete -force canary] $HOME ; tclexit 98 " { }'


def answer(hand_over, converged=1):
    out = Path(hand_over.out)
    out.mkdir()
    (out / "chain.fits").write_text("chain")
    (out / "corner.png").write_text("picture")
    records = [("model", hand_over.model), ("converged", converged), ("verdict", f"converged {HOSTILE}")]
    records += [("evidence", "-65.0 +- 0.1")]
    values = os.environ.get("SIXSA_VALUES", "0.1001 2.2002 0.00100003").split()
    for parameter, value in zip(hand_over.free, values, strict=True):
        records.append(("parameter", parameter.source, parameter.index, parameter.name, value))
    records += [("summary", "verdict: CONVERGED"), ("summary", HOSTILE), ("summary", "ünïcode")]
    write_records(out / "prompt.txt", "xsixsa-answer", records)


def main():
    path = sys.argv[sys.argv.index("xsixsa.prompt") + 1]
    hand_over = read_hand_over(path)
    Path(os.environ["SIXSA_SEEN"]).write_bytes(Path(path).read_bytes())
    what = os.environ.get("SIXSA_STANDIN", "finish")
    speak = sys.stdout
    if hand_over.background:
        speak = Path(path).with_name("progress.txt").open("a", buffering=1)

    def say(text):
        speak.write(text + "\n")
        speak.flush()

    say(f"M\tmessage {HOSTILE}\nP\tsimulate: 1 of about 2\nW\tbeware")
    if what == "refuse":
        say("E\tthe free parameters are not those of the prompt")
        return 2
    if what == "crash":
        sys.stderr.write("Traceback\nImportError: libstdc++.so.6: wrong version\n")
        return 1
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            say("P\twaiting")
            time.sleep(60)
        except KeyboardInterrupt:
            say("E\tinterrupted: nothing was saved")
            return 130
    if what == "slow":
        time.sleep(1)
    answer(hand_over)
    return {"finish": 0, "slow": 0, "unconverged": 3}[what]


if __name__ == "__main__":
    sys.exit(main())
