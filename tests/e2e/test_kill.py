"""Killed at the worst moments, by SIGKILL and by Ctrl-C: the next apply finishes, fetches nothing verified again and leaves no orphan."""

import contextlib
import http.server
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import told
from hubs import make_model, running_hub, safetensors
from story import BINARY, Running, environment, free_port

KILLS, KILL_LATER = 25, 0.02
PIECE = 64 << 20    # what is verified and recorded of a large file at once
LATE = 100          # bytes that the slow hub may still count for the client that is gone
BIG, SMALL = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

WEIGHTS = """provision: 1
name: kill
targets:
  weights:
    rule: model
    source: huggingface:acme/tiny
    dir: model
"""

SERVICE = """provision: 1
name: kill
targets:
  service:
    rule: service
    runtime: process
    command: [python3, server.py, --host, "{{host}}", --port, "{{port}}"]
    port: {port}
    ready: {{timeout: 30s, interval: 50ms}}
    stop_timeout: 5s
"""

# Says that it is up through a pipe, and is ready only where it is allowed to be.
SERVER = """import http.server, os, pathlib, sys
here = pathlib.Path(__file__).resolve().parent
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if (here / "go").exists() else 503)
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler)
with open(here / "up", "w") as pipe:
    pipe.write(f"{os.getpid()}\\n")
server.serve_forever()
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.02)


def processes_with(text):
    """Pids of processes with the text in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in line and int(pid) != os.getpid():
            found.append(int(pid))
    return found


# ------------------------------------------------------------------ a download


@pytest.fixture
def big_hub(tmp_path):
    """One file of more than two pieces, one small, and a line that becomes slow in the middle of the large one."""
    repo = make_model(tmp_path / "hub" / "acme" / "tiny")
    count = PIECE + (8 << 20)
    (repo / BIG).write_bytes(safetensors({"model.layers.0.weight": ((count,), bytes(2 * count))}))
    with running_hub(tmp_path / "hub") as hub:
        yield hub


def is_remembered(project, name):
    """Whether a checkpoint speaks of the file: it is written once a piece is synced."""
    with contextlib.closing(sqlite3.connect(f"file:{project / '.provision' / 'cache.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM checkpoint WHERE key LIKE 'part:%' AND key LIKE ?", (f"%/{name}",)).fetchone()[0] > 0


def stop_in_the_middle(hub, project, tmp_path, how):
    """Apply until the hub trickles and everything else is there; then end it."""
    (project / "provision.yaml").write_text(WEIGHTS)
    env = environment(tmp_path, HF_ENDPOINT=hub.url)
    # Of the connections on the large file one brings its piece, the others hardly anything.
    hub.fault(BIG, "none", 1)
    hub.fault(BIG, "trickle", -1)
    running = Running(["apply", "--yes"], project, env)
    event = running.wait_for(lambda e: e["type"] == "target_progress" and e.get("done", 0) >= PIECE)
    assert event["file"]["name"] == BIG and 0 < event["file"]["done"] < event["file"]["total"] == (hub.root / "acme" / "tiny" / BIG).stat().st_size
    wait_until((project / "model" / SMALL).exists)
    wait_until(lambda: is_remembered(project, BIG))
    how(running)
    ended = running.end()
    assert not (project / "model" / BIG).exists()
    hub.reset()
    return ended


def finish(hub, project, provision, most):
    """The next apply fetches what is missing of the large file and not a byte of what was verified."""
    done = provision("apply", "--yes", HF_ENDPOINT=hub.url)
    assert done.code == 0, done
    sent = hub.stats()["bytes"]
    assert SMALL not in sent and 0 < sent[BIG] <= most + LATE, sent
    assert (project / "model" / BIG).read_bytes() == (hub.root / "acme" / "tiny" / BIG).read_bytes()
    assert provision("audit", "verify", "--deep").code == 0
    assert "Nothing to do" in provision("apply", HF_ENDPOINT=hub.url).out
    parts = project / "model" / ".provision" / "parts"
    assert not parts.exists() or not list(parts.iterdir())


def test_killed_download_goes_on(big_hub, project, provision, tmp_path):
    ended = stop_in_the_middle(big_hub, project, tmp_path, lambda running: running.process.kill())
    assert ended.code == -signal.SIGKILL
    # Whole pieces are recorded as they are verified; what came after the last of them is lost.
    finish(big_hub, project, provision, (project.parent / "hub" / "acme" / "tiny" / BIG).stat().st_size - PIECE)


def test_interrupted_download_goes_on(big_hub, project, provision, tmp_path):
    ended = stop_in_the_middle(big_hub, project, tmp_path, Running.interrupt)
    assert ended.code == -signal.SIGINT, ended
    assert ended.events()[-1]["type"] == "summary" and ended.events()[-1]["result"] == "interrupted", ended
    finish(big_hub, project, provision, (project.parent / "hub" / "acme" / "tiny" / BIG).stat().st_size - PIECE)


def test_ctrl_c_says_what_is_kept(big_hub, project, tmp_path):
    """The words, on a run whose output is text."""
    (project / "provision.yaml").write_text(WEIGHTS)
    big_hub.fault(BIG, "trickle", -1)
    process = subprocess.Popen([BINARY, "apply", "--yes"], cwd=project, env=environment(tmp_path, HF_ENDPOINT=big_hub.url), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until((project / "model" / SMALL).exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "stopping" in err and "Interrupted after" in out + err and "go on" in out + err, out + err


# ------------------------------------------------------------------ children of a build


# Stays until it is told to go on, with a grandchild that takes no notice of SIGTERM and one that dropped the mark in its environment.
CHILD = """#!/bin/sh
test -e go && exit 0
(trap '' TERM; while :; do sleep 0.05; done) >/dev/null 2>&1 &
stubborn=$!
env -i /bin/sleep 3600 >/dev/null 2>&1 &
echo $$ $stubborn $! >pids.new
mv pids.new pids
wait
"""

CHILDREN = {
    "command": "    rule: command\n    command: [./child.sh]\n",
    "check": "    rule: validate\n    url: http://127.0.0.1:{port}\n    checks: [{{name: script, command: [./child.sh]}}]\n",
}
AT_ONCE = ["--yes", "--grace=300ms"]
OTHER = "    rule: command\n    command: ['true']\n"


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers every question with 200."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def healthy():
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(params=CHILDREN)
def child_project(request, project, healthy):
    (project / "child.sh").write_text(CHILD)
    (project / "child.sh").chmod(0o755)
    write_targets(project, long=CHILDREN[request.param].format(port=healthy))
    yield project
    for pid in started(project):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def write_targets(project, **targets):
    (project / "provision.yaml").write_text("provision: 1\nname: kill\ntargets:\n" + "".join(f"  {n}:\n{text}" for n, text in targets.items()))


def started(project):
    return [int(pid) for pid in (project / "pids").read_text().split()] if (project / "pids").exists() else []


def killed_in_the_middle(project, tmp_path):
    (project / "pids").unlink(missing_ok=True)
    running = Running(["apply", *AT_ONCE], project, environment(tmp_path))
    wait_until((project / "pids").exists, 30)
    assert running.kill().code == -signal.SIGKILL
    left = started(project)
    assert len(left) == 3 and all(is_alive(pid) for pid in left)
    return left


def mark_of(pid):
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if entry.startswith(b"PROVISION_INSTANCE="):
            return entry.split(b"=", 1)[1].decode()
    return None


def test_children_of_a_killed_build_are_ended(child_project, provision, tmp_path):
    project = child_project
    left = killed_in_the_middle(project, tmp_path)
    mark = mark_of(left[0])
    assert mark and mark_of(left[1]) == mark and mark_of(left[2]) is None
    # Another project's child, another target's, and one whose name only begins like ours.
    owner, rest = mark.split("/", 1)
    others = ["0" * len(owner) + "/" + rest, mark.replace("/long/", "/longer/"), mark + "X"]
    strangers = [subprocess.Popen(["sleep", "60"], env={"PROVISION_INSTANCE": other, "PATH": os.environ["PATH"]}) for other in others]
    try:
        (project / "go").touch()
        done = provision("apply", *AT_ONCE)
        assert done.code == 0, done
        assert not [pid for pid in left if is_alive(pid)]
        assert all(stranger.poll() is None for stranger in strangers)
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
    assert not (project / ".provision" / "runtime" / "children").exists()


def test_they_are_ended_before_the_same_is_begun_again(child_project, tmp_path):
    project = child_project
    first = killed_in_the_middle(project, tmp_path)
    second = killed_in_the_middle(project, tmp_path)
    assert not [pid for pid in first if is_alive(pid)]
    assert not set(first) & set(second)


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_children_of_a_target_that_is_gone_are_ended(child_project, provision, tmp_path, command):
    project = child_project
    left = killed_in_the_middle(project, tmp_path)
    write_targets(project, other=OTHER)
    assert provision("plan").code == 0
    assert all(is_alive(pid) for pid in left)  # a plan changes nothing
    assert provision(command, *AT_ONCE).code == 0
    assert not [pid for pid in left if is_alive(pid)]


def test_children_are_ended_though_nothing_is_to_be_done(project, provision, tmp_path):
    """The manifest is again what it was before the run that was killed."""
    (project / "child.sh").write_text(CHILD)
    (project / "child.sh").chmod(0o755)
    write_targets(project, other=OTHER)
    assert provision("apply", *AT_ONCE).code == 0
    assert "Nothing to do" in provision("apply").out
    write_targets(project, other=OTHER, long=CHILDREN["command"])
    left = killed_in_the_middle(project, tmp_path)
    write_targets(project, other=OTHER)
    assert "Nothing to do" in provision("apply", *AT_ONCE).out
    assert not [pid for pid in left if is_alive(pid)]


def test_a_daemon_of_a_finished_command_is_left_alone(project, provision):
    """What a command that ended well put into the background on purpose is not a leftover of anything."""
    (project / "daemon.sh").write_text("#!/bin/sh\nsetsid -f sh -c 'echo $$ >pid; exec sleep 60' >/dev/null 2>&1\nwhile ! [ -s pid ]; do sleep 0.05; done\n")
    (project / "daemon.sh").chmod(0o755)
    write_targets(project, daemon="    rule: command\n    command: [./daemon.sh]\n    always: true\n")
    assert provision("apply", *AT_ONCE).code == 0
    pid = int((project / "pid").read_text())
    try:
        assert provision("apply", *AT_ONCE).code == 0
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# ------------------------------------------------------------------ a process


@pytest.fixture
def process_project(project):
    port = free_port()
    (project / "provision.yaml").write_text(SERVICE.format(port=port))
    (project / "server.py").write_text(SERVER)
    os.mkfifo(project / "up")
    # Open at both ends, so that neither side waits for the other to open it.
    with os.fdopen(os.open(project / "up", os.O_RDWR | os.O_CLOEXEC), "r") as pipe:
        yield project, pipe, port
    for pid in processes_with(str(port)):
        os.kill(pid, signal.SIGKILL)


def test_killed_start_of_a_process(process_project, provision, tmp_path):
    project, pipe, port = process_project
    running = Running(["apply", "--yes"], project, environment(tmp_path))
    first = int(pipe.readline())
    assert running.kill().code == -signal.SIGKILL
    assert is_alive(first)  # a service has a session of its own
    (project / "go").touch()
    done = provision("apply", "--yes")
    assert done.code == 0, done
    second = int(pipe.readline())
    assert not is_alive(first) and is_alive(second)
    assert processes_with(str(port)) == [second]
    assert "Nothing to do" in provision("apply").out
    assert provision("destroy", "--yes").code == 0
    assert not is_alive(second) and processes_with(str(port)) == []


def test_a_process_that_was_killed_is_found(process_project, provision):
    project, pipe, port = process_project
    (project / "go").touch()
    assert provision("apply", "--yes").code == 0
    first = int(pipe.readline())
    assert provision("audit", "verify").code == 0
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first))
    verified = provision("audit", "verify")
    assert verified.code == 5 and f"process {first} has ended" in verified.out, verified
    assert provision("apply", "--yes").code == 0
    assert processes_with(str(port)) == [int(pipe.readline())]
    assert provision("audit", "verify").code == 0
    assert provision("destroy", "--yes").code == 0


def test_interrupted_start_of_a_process(process_project, provision, tmp_path):
    project, pipe, port = process_project
    running = Running(["apply", "--yes"], project, environment(tmp_path))
    first = int(pipe.readline())
    running.interrupt()
    assert running.end().code == -signal.SIGINT
    assert not is_alive(first) and processes_with(str(port)) == []
    assert provision("status").code == 0


def test_killed_swap_of_a_process(process_project, provision, tmp_path):
    """The old one was stopped and the new one is not ready: the next run of what was accepted puts the old one back."""
    project, pipe, port = process_project
    (project / "go").touch()
    assert provision("apply", "--yes").code == 0
    first = int(pipe.readline())
    (project / "go").unlink()
    accepted = (project / "provision.yaml").read_text()
    (project / "provision.yaml").write_text(accepted + "    env: {STORY: changed}\n")
    running = Running(["apply", "--yes"], project, environment(tmp_path))
    second = int(pipe.readline())
    running.kill()
    assert not is_alive(first) and is_alive(second)
    (project / "go").touch()
    (project / "provision.yaml").write_text(accepted)
    done = provision("apply", "--yes")
    assert done.code == 0, done
    third = int(pipe.readline())
    assert not is_alive(second) and processes_with(str(port)) == [third]
    assert b"STORY=changed" not in Path(f"/proc/{third}/environ").read_bytes()
    assert "Nothing to do" in provision("apply").out
    assert provision("destroy", "--yes").code == 0


def test_killed_at_any_moment(process_project, hub, provision, tmp_path):
    """Again and again, each time a little later, from the first write to the last: what is recorded stays true, and one run ends it."""
    project, pipe, port = process_project
    (project / "go").touch()
    manifest = (project / "provision.yaml").read_text() + WEIGHTS[WEIGHTS.index("  weights:"):]
    env = environment(tmp_path, HF_ENDPOINT=hub.url)
    finished = 0
    for step in range(KILLS):
        # Each is another service, so that there is always something to swap.
        (project / "provision.yaml").write_text(manifest.replace("    command:", f"    needs: [weights]\n    env: {{STEP: s{step}}}\n    command:"))
        process = subprocess.Popen([BINARY, "apply", "--yes"], cwd=project, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            finished += process.wait(step * KILL_LATER) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if (project / ".provision" / "cache.db").exists():
            verified = provision("audit", "verify")
            # A service that was recorded may be down in the middle of a swap; nothing else may differ, and the chain never.
            assert verified.code in (0, 5) and "chain intact" in verified.out and "✗ weights" not in verified.out, (step, verified)
            assert len(processes_with(str(port))) <= 2
    assert provision("apply", "--yes", HF_ENDPOINT=hub.url).code == 0
    (last,) = processes_with(str(port))
    assert f"STEP=s{KILLS - 1}".encode() in Path(f"/proc/{last}/environ").read_bytes()
    assert provision("audit", "verify", "--deep").code == 0
    assert "Nothing to do" in provision("apply", HF_ENDPOINT=hub.url).out
    assert finished < KILLS
    assert provision("destroy", "--yes").code == 0 and processes_with(str(port)) == []


# ------------------------------------------------------------------ containers


@pytest.fixture
def story(tmp_path, model_hub, engine, base_image):
    model_hub.reset()
    with told(tmp_path / "story", model_hub, engine, base_image) as story:
        yield story


def starting(story, *more):
    """An apply whose container is up and not ready yet."""
    before = story.containers()
    running = story.start("apply", "tp4.yaml", "--yes", *more)
    wait_until(lambda: set(story.containers(all=False)) - set(before), 30)
    return running


def assert_serves(story):
    container = story.container()
    assert story.containers() == [container["Id"]]
    plan = story.plan()
    assert "Nothing to do" in plan.out, plan
    return container["Id"]


def test_killed_build_of_an_image(story):
    marker = f"marker-{story.name}"
    story.edit("image/Dockerfile", "COPY", f"RUN echo {marker} && sleep 3\nCOPY")
    running = story.start("apply", "tp4.yaml", "image", "--yes", "-v")
    wait_until(lambda: marker in story.docker("ps", "--all", "--no-trunc", "--format", "{{.Command}}"), 30)
    assert running.kill().code == -signal.SIGKILL
    left = [pid for pid in processes_with(story.tag) if mark_of(pid)]
    assert left
    story.hub.reset()
    story.applied()
    assert not [pid for pid in left if is_alive(pid)]
    assert_serves(story)
    assert marker not in story.docker("ps", "--all", "--no-trunc", "--format", "{{.Command}}")


def test_killed_start_of_a_container(story):
    running = starting(story, "--set", "flaw=deaf")
    assert running.kill().code == -signal.SIGKILL
    orphan = story.containers()
    assert len(orphan) == 1
    story.hub.reset()
    story.applied()
    assert assert_serves(story) not in orphan
    assert story.hub.stats()["total"] == 0


def test_interrupted_start_of_a_container(story):
    running = starting(story, "--set", "flaw=deaf")
    running.interrupt()
    assert running.end().code == -signal.SIGINT
    assert story.containers() == []
    story.applied()
    assert_serves(story)


def test_killed_swap_of_a_container(story):
    story.applied()
    old = assert_serves(story)
    running = starting(story, "--set", "flaw=deaf")
    running.kill()
    left = story.containers()
    assert len(left) == 2 and old in left and old not in story.containers(all=False)
    story.applied()
    assert assert_serves(story) not in set(left) - {old}


def test_interrupted_swap_of_a_container(story):
    """Never no service if the old one can be put back."""
    story.applied()
    old = assert_serves(story)
    running = starting(story, "--set", "flaw=deaf")
    assert old not in story.containers(all=False)
    running.interrupt()
    ended = running.end()
    assert ended.code == -signal.SIGINT, ended
    assert story.containers() == [old]
    wait_until(lambda: json.loads(story.docker("inspect", old))[0]["State"]["Running"])
    assert assert_serves(story) == old
