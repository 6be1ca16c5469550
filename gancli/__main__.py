"""`python -m gancli` is `gan`."""

import contextlib
import logging
import os
import sys

from gancli.cli import main


def leave_rank(code: int) -> None:
    """Ends a rank of torchrun at once, with all that was said written out.

    By now its run is saved and its process group is closed. To take the interpreter down as well
    can, rarely, abort it ("terminate called without an active exception": a thread that comes back
    from C++ finds no interpreter), and torchrun then calls a finished run failed.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full or none
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    status = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        leave_rank(status)
    sys.exit(status)
