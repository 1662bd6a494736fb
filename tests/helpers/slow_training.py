"""`medview train` as its caller sees it, without learning anything: epochs, curves, an interrupt.

`python slow_training.py train CONFIG --out DIR [--resume]`: an epoch every PACE seconds, as many as
EPOCHS says in the environment; with FAIL set it ends after one of them with words and code 4.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main(out: Path, *, resume: bool) -> int:
    curves, checkpoint = out / "curves.csv", out / "checkpoint.pt"
    pace = float(os.environ.get("PACE", "0.05"))
    done = curves.read_text().splitlines()[1:] if resume else []
    for epoch in range(len(done) + 1, int(os.environ["EPOCHS"]) + 1):
        time.sleep(pace)
        score = f"{1 - 0.5**epoch}" if epoch % 2 == 0 else ""
        done.append(f"{epoch},{0.5**epoch},{score},{pace}")
        partial = out / "curves.partial"
        partial.write_text("\n".join(["epoch,train_loss,val_dice,seconds", *done]) + "\n")
        partial.replace(curves)
        checkpoint.touch()
        sys.stderr.write(f"epoch {epoch}\n")
        if "FAIL" in os.environ:
            sys.stderr.write("The training diverged: the loss is no longer a number.\n")
            return 4
    folder = out / "discs" / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main(Path(sys.argv[4]), resume="--resume" in sys.argv)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
