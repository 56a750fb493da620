"""One writer a project: of many applies at once one does the work, the others leave with 75 and say who; a holder that is killed leaves nothing to unlock."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from project import Project, assert_refused
from story import BINARY

MANIFEST = """\
provision: 1
name: locks
targets:
  slow:
    rule: command
    command: [/bin/sh, -c, "read word < gate; echo made > out"]
    inputs: [source]
    outputs: [out]
"""
SECONDS = 60


class Gated(Project):
    """A project whose one target waits until the gate is opened."""

    def __init__(self, root):
        super().__init__(root)
        self.write("provision.yaml", MANIFEST)
        self.renew()
        os.mkfifo(self.path("gate"))
        # Open at both ends, so that no side waits for the other to open it.
        self.gate = os.open(self.path("gate"), os.O_RDWR | os.O_CLOEXEC)

    def renew(self):
        """Something to do again."""
        self.write("source", os.urandom(8).hex())

    def open_gate(self):
        os.write(self.gate, b"go\n")

    def begin(self, *arguments, command="apply"):
        return subprocess.Popen([BINARY, command, "--yes", *arguments], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def holder(self):
        """Pid in the lock's text, once somebody has written it."""
        found = re.search(r"^pid=(\d+)$", self.read(".provision/lock"), re.M) if self.path(".provision/lock").exists() else None
        return int(found[1]) if found else None

    def close(self):
        os.close(self.gate)


@pytest.fixture
def gated(tmp_path):
    project = Gated(tmp_path / "p")
    yield project
    project.close()


def wait_until(condition, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.02)


def contest(project, count):
    """`count` applies at once; the winner waits at the gate until all others have ended. The winner, and what the others said."""
    racing = [project.begin() for _ in range(count)]
    try:
        wait_until(lambda: sum(process.poll() is None for process in racing) == 1)
        winner = next(process for process in racing if process.poll() is None)
        # All others are through before the winner has done anything: none of them waited for it.
        said = {process.pid: (process.returncode, process.communicate()[0]) for process in racing if process is not winner}
        assert winner.poll() is None
    except BaseException:
        for process in racing:
            process.kill()
        raise
    return winner, said


def assert_lost(said, winner):
    for pid, (code, text) in said.items():
        assert code == 75 and "error[E0901]" in text, (pid, code, text)
        assert f"pid {winner.pid}," in text and "apply" in text and "nothing to unlock by hand" in text, (pid, winner.pid, text)


@pytest.mark.parametrize("count, rounds", [(2, 8), (10, 3), (100, 1)])
def test_one_of_many(gated, count, rounds):
    for done in range(1, rounds + 1):
        gated.renew()
        winner, said = contest(gated, count)
        assert len(said) == count - 1
        assert_lost(said, winner)
        gated.open_gate()
        out, _ = winner.communicate(timeout=SECONDS)
        assert winner.returncode == 0, out
        log = gated.ok("audit", "log")
        assert len(re.findall(r"\bapply\b", log.out)) == done, log
        gated.nothing_to_do()
    assert gated.ok("audit", "verify", "--deep")


def test_a_killed_holder_is_not_in_the_way(gated):
    """And its name is not taken for that of the next one."""
    for _ in range(4):
        gated.renew()
        killed = gated.begin()
        wait_until(lambda: gated.holder() == killed.pid)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=SECONDS)
        assert gated.holder() == killed.pid
        winner, said = contest(gated, 8)
        assert_lost(said, winner)
        winner.send_signal(signal.SIGKILL)
        winner.communicate(timeout=SECONDS)
    for _ in range(16):
        gated.open_gate()
    gated.applied()
    gated.nothing_to_do()
    assert gated.ok("audit", "verify", "--deep")


def test_a_child_does_not_keep_the_lock(gated):
    """What the killed one had started holds no descriptor of it."""
    killed = gated.begin()
    wait_until(lambda: gated.holder() == killed.pid)
    inode = os.stat(gated.path(".provision/lock")).st_ino
    wait_until(lambda: children_of(killed.pid))
    for child in children_of(killed.pid):
        held = [os.stat(f"/proc/{child}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{child}/fd")]
        assert inode not in held
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=SECONDS)
    for _ in range(4):
        gated.open_gate()
    gated.applied()


def children_of(pid):
    """Of all its threads."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def test_waiting(gated):
    """Two wait, each takes its turn, and all three end well."""
    first = gated.begin()
    wait_until(lambda: gated.holder() == first.pid)
    waiting = [gated.begin("--lock-timeout", "60s") for _ in range(2)]
    short = gated.run("apply", "--yes", "--lock-timeout", "200ms")
    assert_refused(short, 75, "E0901", f"pid {first.pid},")
    assert "waiting for the lock" in short.err, short
    assert all(process.poll() is None for process in waiting)
    for _ in range(3):
        gated.open_gate()
    for process in [first, *waiting]:
        out, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, out
    # Who came later found it done.
    assert len(re.findall(r"\bapply\b", gated.ok("audit", "log").out)) <= 3
    gated.nothing_to_do()


def test_waiting_is_told_as_an_event(gated):
    first = gated.begin()
    wait_until(lambda: gated.holder() == first.pid)
    short = gated.run("apply", "--yes", "--json", "--lock-timeout", "100ms")
    events = [json.loads(line) for line in short.out.splitlines()]
    told = [event for event in events if event["type"] == "lock_wait"]
    assert short.code == 75 and told and told[0]["holder"]["pid"] == first.pid, short
    gated.open_gate()
    assert first.communicate(timeout=SECONDS) and first.returncode == 0


def test_readers_do_not_wait(gated):
    first = gated.begin()
    wait_until(lambda: gated.holder() == first.pid)
    for command in (["plan"], ["status"], ["audit"], ["audit", "log"], ["check"], ["graph"]):
        began = time.monotonic()
        done = gated.run(*command)
        assert done.code in (0, 5) and "E0901" not in done.text and time.monotonic() - began < 10, done
    assert str(first.pid) in gated.run("status").text
    assert_refused(gated.run("destroy", "--yes"), 75, "E0901", f"pid {first.pid},", "apply")
    gated.open_gate()
    assert first.communicate(timeout=SECONDS) and first.returncode == 0


def test_another_way_to_the_same_project(gated, tmp_path):
    """By another working directory and through a symlink it is the same lock; with a cache of its own it is another one."""
    (tmp_path / "link").symlink_to(gated.root)
    first = gated.begin()
    wait_until(lambda: gated.holder() == first.pid)
    for place in (gated.root, tmp_path / "link"):
        other = subprocess.run([BINARY, "apply", "--yes", "-C", str(place)], cwd=tmp_path, env=gated.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=SECONDS)
        assert other.returncode == 75 and f"pid {first.pid}," in other.stderr, other
    own = gated.begin("--cache", str(tmp_path / "own" / "cache.db"))
    gated.open_gate()
    gated.open_gate()
    for process in (first, own):
        out, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, out
