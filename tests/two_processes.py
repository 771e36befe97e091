"""Two processes that run the same lines as one program, without a model: for what they agree on."""

import os
import subprocess
import sys

from test_processes import free_port

START = """
import sys
from sublax.parallel import hosts
index = int(sys.argv[2])
hosts.start(sys.argv[1], 2, index)
"""


def in_two(code, *arguments):
    """(exit status, lines of standard output, standard error) of each of two processes.

    Args:
        code: what both run, after `START`; `index` says which it is.
        arguments: strings, in `sys.argv[3:]`.
    """
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": "",
        # As the command line has it: without torch, transformers says so on standard error.
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START + code, address, str(index), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        told = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, [line for line in output.splitlines() if "[Gloo]" not in line], errors)
        for process, (output, errors) in zip(processes, told, strict=True)
    ]
