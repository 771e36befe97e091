"""`python -m sublax` is the console script `sublax`."""

import os
import sys

HUGE_PAGES = "glibc.malloc.hugetlb=1"


def entry() -> None:
    """Runs the command line, with memory in huge pages where glibc can have them.

    XLA's CPU backend asks for its buffers anew at every step, and in pages of 4 KiB the kernel
    spends a sixth of a run handing them out. glibc reads its tunables only when a program starts.
    """
    # transformers advises at every start to install torch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": HUGE_PAGES}
        command = [sys.executable, "-m", "sublax", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)
    from sublax.cli import main  # only now: a program that is started anew imports nothing twice

    sys.exit(main())


if __name__ == "__main__":
    entry()
