"""Several processes as one run: how they find each other, and what the first alone does."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from sublax.errors import UserError

# Set where something starts several tasks that jax.distributed can find by itself.
_TASK_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_CLUSTERS = ("JOBSET_NAME", "TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    timeout: int = 300,
) -> None:
    """Joins the processes of one run; to be called once, before anything touches a device.

    TPU slices, SLURM, Open MPI and GKE are found by jax itself. Elsewhere the three arguments say
    it, or the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID. Where
    nothing says that there are several, there is one, and nothing is joined.

    Args:
        coordinator: HOST:PORT of the first process, the same in all.
        processes: how many there are.
        index: which one this is, from 0.
        timeout: seconds to wait for the others.

    Where not all come up in time the process says so and ends, with exit status 2.

    Raises:
        UserError: half of what is needed is given, or this host hides its own address.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _number("JAX_NUM_PROCESSES", processes)
    index = _number("JAX_PROCESS_ID", index)
    given = [value is not None for value in (coordinator, processes, index)]
    if any(given) and not all(given):
        raise UserError(
            "--coordinator, --num-processes and --process-id belong together: give all three, or "
            "none where the cluster is found by itself (TPU, SLURM, GKE, Open MPI)"
        )
    if not any(given) and not _is_cluster():
        return
    if index is not None and processes is not None and not 0 <= index < processes:
        raise UserError(
            f"--process-id={index}: count from 0; of {processes} the last is {processes - 1}"
        )
    if coordinator is not None:
        _check_own_name(coordinator)
    # What processes on CPUs speak to each other; accelerators do not look at it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    whom = f"process {index} of {processes} at {coordinator}" if coordinator else "this cluster"
    too_late = threading.Timer(timeout, _give_up, [whom, timeout])
    too_late.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, index, initialization_timeout=timeout + 60
        )
    except (RuntimeError, ValueError) as error:
        told = str(error).strip().splitlines()[0]
        raise UserError(f"{whom}: cannot join the other processes ({told})") from error
    finally:
        too_late.cancel()


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process has called it by the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def exchange(text: str, most: int = 2048) -> list[str]:
    """What each process says, in their order; a collective call.

    Args:
        text: what this one says, without zero bytes; what is beyond `most` bytes is cut off.
        most: bytes, the same in all.
    """
    if jax.process_count() == 1:
        return [text]
    said = np.frombuffer(text.encode()[:most].ljust(most, b"\0"), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(said))
    return [bytes(one).rstrip(b"\0").decode(errors="ignore") for one in every]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Where one process fails within it, all do, and none waits for it: a collective call.

    What stands within it may be collective only where those that fail take part to the end.

    Raises:
        UserError: that of the first process that failed so. Other exceptions are of one alone.
    """
    failed = None
    try:
        yield
    except UserError as error:
        failed = error
    for told in exchange(str(failed or "")):
        if told:
            raise UserError(told) from failed


def announce(mesh: jax.sharding.Mesh) -> None:
    """Says in one line what this process is, and what it computes on."""
    shape = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    own = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
    print(
        f"process {jax.process_index()} of {jax.process_count()}: {own} of {mesh.size} devices "
        f"({mesh.devices.flat[0].device_kind}), mesh {shape}",
        file=sys.stderr,
    )


def _give_up(whom: str, timeout: int) -> None:
    # jax itself would abort, with a page of addresses; and nothing has begun that could be lost.
    print(
        f"sublax: {whom}: not all processes came up within {timeout} s; see that every host runs "
        "the same command and reaches the first one's port",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def _number(variable: str, given: int | None) -> int | None:
    text = os.environ.get(variable)
    if given is not None or not text:
        return given
    if not text.isdecimal():
        raise UserError(f"{variable}={text}: must be a whole number")
    return int(text)


def _is_cluster() -> bool:
    """Whether the environment says that this is one of several tasks, or a TPU's host."""
    tasks = [os.environ.get(name, "") for name in _TASK_COUNTS]
    return (
        any(count.isdecimal() and int(count) > 1 for count in tasks)
        or any(os.environ.get(name) for name in _CLUSTERS)
        or any(os.path.exists(device) for device in _TPU_DEVICES)
    )


def _check_own_name(coordinator: str) -> None:
    """Refuses a host whose own name is an address that only it can reach.

    Processes on CPUs offer each other the address of their own name, and wait for each other
    until they give up where that is a loopback's.
    """
    host = coordinator.rpartition(":")[0].strip("[]")
    if host in ("localhost", "::1") or host.startswith("127."):
        return
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return
    if address.startswith("127."):
        raise UserError(
            f"{name}: this host's own name is {address} to itself, which other hosts cannot reach; "
            f"map {name} to its real address in /etc/hosts"
        )
