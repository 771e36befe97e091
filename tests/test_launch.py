"""The launchers: what they would do, that their commands are real ones, and whole runs by them."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from tiny_runs import SMALL, TINY, read_transfer, start_command

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SLICE = ("--name=owl", "--zone=us-east5-b")


def tpu(verb, *arguments, env=(), check=True, launch=LAUNCH):
    """What a call of tpu.sh says; on success on stdout, else on stderr."""
    result = subprocess.run(
        [launch / "tpu.sh", verb, *SLICE, *arguments],
        env=os.environ | dict(env),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if check:
        assert result.returncode == 0, result.stderr
        return result.stdout
    return result.returncode, result.stderr


def planned(verb, *arguments, launch=LAUNCH):
    """The commands that a call would run, each as its words."""
    told = tpu(verb, *arguments, env={"DRY_RUN": "1"}, launch=launch)
    return [shlex.split(line) for line in told.splitlines()]


COMMAND = ("sublax", "run", "--config=configs/tiny.py", "--workdir=gs://b/r", "--config.x=a b 'c'")
EVERY = [
    ("create", "--type=v6e-16", "--spot"),
    ("create", "--type=v4-32", "--reserved", "--project=p"),
    ("create", "--type=v7x-16", "--version=some-image"),
    ("setup",),
    ("sync", "--allow-dirty"),
    ("run", "--retries=3", "--", *COMMAND),
    ("logs", "--worker=2", "--follow"),
    ("status",),
    ("stop",),
    ("delete",),
]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_pass_shellcheck():
    result = subprocess.run(["shellcheck", *LAUNCH.glob("*.sh")], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_a_slice_is_asked_for_with_the_runtime_of_its_generation():
    (create,) = planned("create", "--type=v5e-16", "--spot")
    assert create[:5] == ["gcloud", "compute", "tpus", "queued-resources", "create"]
    assert {"owl", "--node-id=owl", "--spot", "--accelerator-type=v5litepod-16"} <= set(create)
    images = [planned("create", f"--type={t}-8")[0] for t in ("v4", "v5e", "v5p", "v6e")]
    found = [next(w for w in words if w.startswith("--runtime")) for words in images]
    assert len(set(found)) == 4


def test_a_command_reaches_the_worker_word_by_word():
    """Through the launcher's shell, ssh's, and the one that starts it."""
    ((*_, last),) = planned("run", "--", *COMMAND)
    on_ssh = shlex.split(last.removeprefix("--command="))
    assert on_ssh[:2] == ["bash", "~/sublax-job/on_worker.sh"]
    assert on_ssh[2] == "start"
    assert shlex.split(on_ssh[3]) == list(COMMAND)


@pytest.mark.slow
@pytest.mark.parametrize("call", EVERY, ids=lambda call: " ".join(call[:2]))
@pytest.mark.skipif(
    "google-cloud-sdk" not in os.path.realpath(shutil.which("gcloud") or ""),
    reason="Google's gcloud is not installed",
)
def test_gcloud_itself_accepts_every_command(call, tmp_path):
    """Its parser comes before it looks for an account, which there is none of."""
    sdk = {"CONFIG": str(tmp_path), "CORE_DISABLE_PROMPTS": "1", "CORE_PROJECT": "p"}
    environment = os.environ | {f"CLOUDSDK_{name}": value for name, value in sdk.items()}
    launch = repository(tmp_path / "clone") / "launch"
    commands = [words for words in planned(*call, launch=launch) if words[0] == "gcloud"]
    assert commands
    for words in commands:
        result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
        assert result.returncode != 0
        assert "You do not currently have an active account" in result.stderr, result.stderr
    wrong = [*commands[0], "--no-such-flag"]
    result = subprocess.run(wrong, env=environment, capture_output=True, text=True, timeout=120)
    assert "unrecognized arguments" in result.stderr


@pytest.mark.parametrize(
    "call, told",
    [
        (("create",), "create: give --type, as in --type=v6e-16"),
        (("create", "--type=v9-8"), "--type=v9-8: no runtime is known for it; give --version"),
        (("run",), "run: give the command after --"),
        (("run", "--retries=x", "--", "true"), "--retries=x: give a whole number"),
        (("run", "--tries=3"), "--tries=3: no such option"),
        (("frobnicate",), "frobnicate: no such verb"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(call, told):
    status, said = tpu(*call, env={"DRY_RUN": "1"}, check=False)
    assert status == 2
    assert said.startswith(f"tpu.sh: {told}")
    assert said.count("\n") == 1


def test_help_shows_every_verb_and_an_example():
    told = subprocess.run([LAUNCH / "tpu.sh", "--help"], capture_output=True, text=True).stdout
    verbs = ["create", "setup", "sync", "run", "resume", "logs", "status", "stop", "delete"]
    assert all(re.search(rf"^  {verb} ", told, re.MULTILINE) for verb in verbs)
    assert "launch/tpu.sh run --name=owl" in told


def test_the_manifest_is_a_jobset_whose_pods_are_as_many_as_the_slice_has_hosts():
    manifest = yaml.safe_load((LAUNCH / "gke.yaml").read_text())
    assert manifest["kind"] == "JobSet"
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 4
    container = job["template"]["spec"]["containers"][0]
    topology = job["template"]["spec"]["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert np.prod([int(n) for n in topology.split("x")]) == 4 * chips
    assert container["command"][:2] == ["sublax", "run"]


def test_local_runs_a_process_each_and_gives_the_first_status_that_is_not_0():
    script = 'echo "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES"; sleep 0.5; exit $((JAX_PROCESS_ID * 3))'
    result = subprocess.run(
        [LAUNCH / "local.sh", "3", "bash", "-c", script], capture_output=True, text=True
    )
    assert sorted(result.stdout.split("\n")) == ["", "0 of 3", "1 of 3", "2 of 3"]
    assert result.returncode == 3


def test_local_hands_a_sigterm_on():
    process = subprocess.Popen(
        [LAUNCH / "local.sh", "2", "bash", "-c", "trap 'exit 75' TERM; echo up; sleep 30 & wait"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75


def repository(folder):
    """A repository whose HEAD is the code that stands here: a slice gets HEAD."""
    for name in ("configs", "launch", "sublax"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "state"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Slice:
    """Two hosts with a home folder each, and tpu.sh with the stand-in for gcloud."""

    def __init__(self, folder, clone, hosts):
        self.folder, self.clone = folder, clone
        folder.mkdir(exist_ok=True)
        (folder / "hosts").write_text("".join(json.dumps(host) + "\n" for host in hosts))

    def call(self, verb, *arguments, check=True):
        result = subprocess.run(
            [self.clone / "launch" / "tpu.sh", verb, *SLICE, *arguments],
            env=os.environ
            | {
                "FAKE_SLICE": str(self.folder),
                "PATH": f"{ROOT / 'tests' / 'launch'}:{os.environ['PATH']}",
                "POLL_SECONDS": "1",
                "PYTHON": sys.executable,
            },
            capture_output=True,
            text=True,
            timeout=400,
        )
        if check:
            assert result.returncode == 0, result.stdout + result.stderr
        return result

    def statuses(self):
        lines = self.call("status").stdout.splitlines()
        return sorted(re.search(r"running|status \d+", line)[0] for line in lines[1:])

    def wait_for(self, wanted, seconds=200):
        until = time.monotonic() + seconds
        while (found := self.statuses()) != wanted:
            assert time.monotonic() < until, (found, self.call("logs").stdout)
            time.sleep(1)


def environment_of(index, coordinator, cache):
    """What a real slice would tell its hosts by its metadata, and an environment that is there."""
    return {
        "JAX_COORDINATOR_ADDRESS": coordinator,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(index),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": ":".join(path for path in sys.path if "site-packages" in path),
        "INSTALL": "true",
        "STOP_SECONDS": "5",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@contextlib.contextmanager
def folders_as_hosts(tmp_path, cache):
    """Two folders that stand for the homes of two hosts."""
    coordinator, hosts = f"127.0.0.1:{free_port()}", []
    for index in range(2):
        home = tmp_path / f"host-{index}"
        home.mkdir()
        variables = environment_of(index, coordinator, cache) | {"HOME": str(home)}
        words = [f"{name}={value}" for name, value in variables.items()]
        hosts.append(["env", *words, "bash", "-c"])
    pods = Slice(tmp_path / "slice", repository(tmp_path / "clone"), hosts)
    try:
        yield pods
    finally:
        pods.call("stop", check=False)


def missing_for_namespaces():
    """Why two hosts with addresses of their own cannot be had here, or nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root makes network namespaces"
    for program in ("ip", "/usr/sbin/sshd", "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"{program} is not installed (iproute2, openssh-server)"
    tried = subprocess.run(["ip", "netns", "add", "sublax-try"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", "sublax-try"], capture_output=True)
    return tried.stderr.strip()


@contextlib.contextmanager
def namespaces_as_hosts(tmp_path, cache):
    """Two network namespaces with an address and an ssh server each, joined by a bridge."""

    def ip(*words, check=True):
        subprocess.run(["ip", *words], check=check, capture_output=not check)

    key, servers, hosts = tmp_path / "key", [], []
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    network, bridge = "10.203.77", "sublax-br"
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("address", "add", f"{network}.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for index in range(2):
            space, address = f"sublax-{index}", f"{network}.{index + 1}"
            # Else a host offers the other the address that this machine's own name has here.
            names = pathlib.Path("/etc/netns") / space / "hosts"
            names.parent.mkdir(parents=True, exist_ok=True)
            names.write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
            ip("netns", "add", space)
            ip("link", "add", f"sublax-v{index}", "type", "veth", "peer", "eth0", "netns", space)
            ip("link", "set", f"sublax-v{index}", "master", bridge, "up")
            ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
            home = tmp_path / f"host-{index}"
            home.mkdir()
            variables = environment_of(index, f"{network}.1:1234", cache) | {"HOME": str(home)}
            told = " ".join(f'"{name}={value}"' for name, value in variables.items())
            settings = tmp_path / f"sshd-{index}"
            settings.write_text(
                f"HostKey {key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\nUsePAM no\n"
                f"PermitRootLogin yes\nPidFile none\nSetEnv {told}\n"
            )
            server = ["ip", "netns", "exec", space, "/usr/sbin/sshd", "-D", "-e", "-f", settings]
            servers.append(subprocess.Popen(server, stderr=subprocess.DEVNULL))
            options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
            words = [word for option in options for word in ("-o", option)]
            hosts.append(["ssh", "-i", str(key), *words, f"root@{address}"])
        pods = Slice(tmp_path / "slice", repository(tmp_path / "clone"), hosts)
        yield pods
        pods.call("stop", check=False)
    finally:
        for server in servers:
            server.kill()
        for index in range(2):
            ip("netns", "delete", f"sublax-{index}", check=False)
            shutil.rmtree(f"/etc/netns/sublax-{index}", ignore_errors=True)
        ip("link", "delete", bridge, check=False)


def drive(pods, workdir, kill_one):
    """Setup to the end, with a host's process killed on the way."""
    pods.call("create", "--type=v4-16")
    pods.call("setup")
    pods.call("sync")
    overrides = [f"--config.{o}" for o in (*SMALL, "mesh.data=-1", "teacher.steps=160")]
    overrides += ["--config.checkpoint.steps=20"]
    config = TINY.relative_to(ROOT)
    command = ["python", "-m", "sublax", "run", f"--config={config}", f"--workdir={workdir}"]
    pods.call("run", "--", *command, *overrides)
    assert pods.statuses() == ["running", "running"]
    again = pods.call("run", "--", "true", check=False)
    assert again.returncode != 0
    assert "a run is under way already" in again.stderr
    until = time.monotonic() + 200
    while not list(workdir.glob("checkpoints/*/teacher-owl/[0-9]*")):
        assert time.monotonic() < until, pods.call("logs").stdout
        time.sleep(0.5)
    kill_one()
    pods.call("stop")
    ended = pods.statuses()
    assert "running" not in ended
    pods.call("resume")
    pods.wait_for(["status 0", "status 0"])
    told = pods.call("logs").stdout
    assert "process 0 of 2: 1 of 2 devices" in told
    card = json.loads((workdir / "students/random--0/owl/seed-0/card.json").read_text())
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=pods.clone, capture_output=True, text=True
    ).stdout.strip()
    assert card["versions"]["commit"] == head
    pods.call("delete")


@pytest.mark.slow
def test_two_hosts_are_driven_through_the_death_of_one(tmp_path, cache):
    """By ssh, each with an address of its own, as on a slice."""
    if reason := missing_for_namespaces():
        pytest.skip(reason)
    workdir = tmp_path / "workdir"
    with namespaces_as_hosts(tmp_path, cache) as pods:

        def kill_one():
            group = (tmp_path / "host-1" / "sublax-job" / "pid").read_text().strip()
            os.killpg(int(group), signal.SIGKILL)

        drive(pods, workdir, kill_one)
    alone = start_command(tmp_path / "alone", cache, "mesh.data=-1", "teacher.steps=160")
    assert alone.wait(timeout=300) == 0, alone.stderr.read()
    wanted = read_transfer(tmp_path / "alone")["shift"]
    np.testing.assert_allclose(read_transfer(workdir)["shift"], wanted, atol=5e-3)


@pytest.mark.slow
def test_a_preempted_slice_is_made_again_and_the_command_goes_on(tmp_path, cache):
    """The slice goes while the command runs; at the second start the command succeeds."""
    with folders_as_hosts(tmp_path, cache) as pods:
        pods.call("create", "--type=v4-16", "--spot")
        pods.call("setup")
        pods.call("sync")
        line = (
            'echo start >>~/starts; [ "$(wc -l <~/starts)" -ge 2 ] && exit 0; '
            f"rm -f {tmp_path}/slice/state; sleep 3; exit 75"
        )
        result = pods.call("run", "--retries=2", "--", "bash", "-c", line)
        assert "the slice is gone; starting again, 1 retries left" in result.stderr
        assert "owl: done" in result.stderr
        calls = [json.loads(c) for c in (tmp_path / "slice" / "calls").read_text().splitlines()]
        created = [call for call in calls if "create" in call]
        assert len(created) == 2
        assert created[0] == created[1]

        failing = pods.call("run", "--retries=2", "--", "bash", "-c", "exit 3", check=False)
        assert failing.returncode == 1
        assert "the run ended with status 3" in failing.stderr
