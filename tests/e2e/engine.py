"""A real container engine for the tests: the one that answers, else a dockerd of our own.

The fixture exports DOCKER_HOST, so that provision and the docker command use the same engine. An engine that we start has its data, its
socket and its pid file in a temporary directory, and is ended by its pid.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

START_SECONDS = 60
STOP_SECONDS = 30


def socket_path(host):
    return host[len("unix://"):] if host.startswith("unix://") else None


def answers(path):
    """Whether an engine answers a ping at the socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
            head = b""
            while chunk := connection.recv(4096):
                head += chunk
    except OSError:
        return False
    return b"200 OK" in head.split(b"\r\n", 1)[0] and b"api-version:" in head.lower()


def candidates():
    """Sockets in provision's own order."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return [socket_path(host)] if socket_path(host) else []
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return ["/var/run/docker.sock", f"{runtime}/docker.sock"]


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def unmount_below(directory):
    """What an engine that was killed leaves mounted would keep its directory from being removed."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        points = [line.split()[4] for line in mounts]
    for point in sorted((p for p in points if p.startswith(str(directory) + "/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def stop(process):
    """End the engine that we started, by the pid that we know; containerd, its child, ends with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def own_engine():
    """Start a dockerd of our own and give its DOCKER_HOST."""
    program = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not program:
        raise RuntimeError("no engine answers and there is no dockerd to start")
    if os.geteuid() != 0:
        raise RuntimeError("no engine answers and only root can start one")
    # Short: the path of a socket has at most 107 bytes, and containerd makes longer ones below it.
    directory = Path(tempfile.mkdtemp(prefix="pe-"))
    path = directory / "docker.sock"
    log = directory / "dockerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid",
             "-H", f"unix://{path}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        if not wait_until(lambda: process.poll() is not None or answers(path), START_SECONDS) or process.poll() is not None:
            raise RuntimeError("dockerd did not start:\n" + log.read_text(errors="replace")[-4000:])
        yield f"unix://{path}"
    finally:
        stop(process)
        unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running_engine():
    """The engine that answers, else our own."""
    for path in candidates():
        if answers(path):
            yield f"unix://{path}"
            return
    with own_engine() as host:
        yield host


def docker(host, *arguments, check=True, **options):
    """Run the docker command against the engine; its output as text."""
    environment = dict(os.environ, DOCKER_HOST=host)
    environment.pop("DOCKER_CONTEXT", None)
    return subprocess.run(["docker", *map(str, arguments)], check=check, capture_output=True, text=True, env=environment, **options)


@pytest.fixture(scope="session")
def engine():
    """DOCKER_HOST of a real engine, exported for everything that the tests start."""
    before = os.environ.get("DOCKER_HOST")
    with running_engine() as host:
        os.environ["DOCKER_HOST"] = host
        try:
            yield host
        finally:
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before
