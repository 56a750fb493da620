"""The example in examples/quickstart, all the way and back: what its README promises, and what happens when the world is harmed under it."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest
from project import BINARY, REPOSITORY, Project, assert_events, assert_refused, processes
from story import free_port

ALL = ["host", "work", "preflight", "weights", "service", "accept"]


class Quickstart(Project):
    def __init__(self, root):
        super().__init__(root)
        self.copy(REPOSITORY / "examples" / "quickstart")
        self.port = free_port()
        self.edit("provision.yaml", "port: 18080", f"port: {self.port}")

    @property
    def weights(self):
        return self.path("work/model")

    def servers(self):
        """Pids of the service of this copy."""
        return processes(str(self.weights))

    def ask(self, path="/health"):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.status

    def clean(self):
        self.run("destroy", "--yes")
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fresh(tmp_path):
    quickstart = Quickstart(tmp_path / "q")
    yield quickstart
    quickstart.clean()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    quickstart = Quickstart(tmp_path_factory.mktemp("kept") / "q")
    quickstart.applied()
    yield quickstart
    quickstart.clean()
    assert quickstart.servers() == []


@pytest.fixture
def applied(kept):
    """As it is after `apply`: what another test harmed is put right first."""
    kept.applied()
    return kept


def listeners(port):
    """Addresses that something listens on at this port, as the kernel writes them."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as rows:
            for row in rows.readlines()[1:]:
                local, state = row.split()[1], row.split()[3]
                if state == "0A" and int(local.split(":")[1], 16) == port:
                    found.append(local.split(":")[0])
    return found


def test_there_and_back(fresh):
    plan = fresh.ok("plan")
    assert all(name in plan.out for name in ALL) and "never built" in plan.out, plan
    assert fresh.run("plan", "--detailed-exitcode").code == 2
    assert not fresh.path(".provision").exists() and not fresh.path("work").exists()
    done = fresh.applied()
    assert f"http://127.0.0.1:{fresh.port}/v1" in done.out, done
    assert fresh.ask() == 200 and listeners(fresh.port) == ["0100007F"]
    fresh.nothing_to_do()
    status = fresh.ok("status")
    assert "6 up to date" in status.out, status
    document = json.loads(fresh.ok("status", "--json").out)
    assert [t["target"] for t in document["targets"]] == ALL and document["differing"] == 0
    audit = fresh.ok("audit")
    assert all(name in audit.out for name in ALL) and "4 files" in audit.out, audit
    assert "file://./repository" in fresh.ok("audit", "show", "weights").out
    assert "up to date" in fresh.ok("why", "service").out
    verified = fresh.ok("audit", "verify", "--deep")
    assert "chain intact" in verified.out, verified
    servers = fresh.servers()
    assert len(servers) == 1
    gone = fresh.ok("destroy", "--yes")
    assert "weights" in gone.out and "stays" in gone.out, gone
    assert fresh.servers() == [] and listeners(fresh.port) == [] and (fresh.weights / "model.safetensors").exists()
    fresh.ok("destroy", "--yes", "weights")
    assert not fresh.weights.exists()
    again = fresh.ok("destroy", "--yes")
    assert "othing" in again.out, again
    fresh.applied()
    assert fresh.ask() == 200


def test_destroy_asks(applied):
    assert applied.run("destroy").code == 7 and applied.ask() == 200


def test_second_apply_does_nothing(applied):
    servers, before = applied.servers(), applied.tree("work")
    done = applied.applied()
    assert "Nothing to do" in done.out and applied.servers() == servers and applied.tree("work") == before
    assert applied.run("apply", "--yes", "--detailed-exitcode").code == 0


def test_readers_change_nothing(applied):
    """No byte, no time stamp, no new file; not below .provision either."""
    applied.nothing_to_do()
    before = applied.tree()
    for command in (["plan"], ["plan", "--deep"], ["plan", "--json"], ["status"], ["audit"], ["audit", "log"], ["audit", "show", "weights"],
                    ["audit", "verify", "--deep"], ["why", "weights"], ["logs", "service"], ["graph"], ["check"], ["plan", "--replace", "service"]):
        applied.ok(*command)
        after = applied.tree()
        assert after == before, (command, {k for k in after.keys() | before.keys() if after.get(k) != before.get(k)})


def test_readers_of_a_fresh_project_make_nothing(fresh):
    before = fresh.tree()
    for command in (["plan"], ["status"], ["audit"], ["why", "weights"], ["graph"], ["check"], ["logs", "service"], ["audit", "verify"]):
        done = fresh.run(*command)
        assert done.code in (0, 74) or "E0908" in done.text, done
        assert fresh.tree() == before, command


def test_json_streams(fresh):
    done = fresh.run("plan", "--json")
    events = assert_events(done)
    assert [e["target"] for e in events if e["type"] == "target_planned"] == ALL
    assert next(e for e in events if e["type"] == "plan_summary")["verdict"] == "feasible"
    done = fresh.run("apply", "--yes", "--json")
    events = assert_events(done)
    assert events[-1]["result"] == "ok" and events[-1]["changed"] == 6 and events[-1]["failed"] == 0, done
    assert {e["target"]: e["result"] for e in events if e["type"] == "target_end"} == dict.fromkeys(ALL, "ok")
    runs = {e["run"] for e in events if "run" in e}
    assert len(runs) == 1 and len(runs.pop()) == 8
    done = fresh.run("apply", "--yes", "--json")
    assert assert_events(done)[-1]["changed"] == 0
    fresh.write("broken.yaml", "provision: 1\nnam: x\n")
    done = fresh.run("apply", "--json", "broken.yaml")
    events = assert_events(done)
    assert done.code == 65 and any(e["type"] == "diagnostic" for e in events) and events[-1]["result"] == "failed"
    done = fresh.run("destroy", "--yes", "--json")
    assert assert_events(done)[-1]["result"] == "ok"


# ------------------------------------------------------------------ harm


def flip(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def truncate(path):
    os.truncate(path, 100)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("harm, id", [(flip, "output_differs"), (truncate, "output_differs"), (grow, "output_differs"), (os.unlink, "output_missing")])
def test_weights_harmed(applied, harm, id):
    path = applied.weights / "model.safetensors"
    path.chmod(0o644)
    whole = (REPOSITORY / "examples/quickstart/repository/model.safetensors").read_bytes()
    harm(path)
    served_by = applied.servers()
    found = applied.run("audit", "verify", "weights")
    assert found.code == 5 and "model.safetensors" in found.text, found
    assert applied.run("status").code == 5
    planned = applied.planned()
    assert planned["weights"][0] == id and "service" in planned, planned
    assert "model.safetensors" in applied.ok("plan").out
    done = applied.applied()
    assert path.read_bytes() == whole, done
    # It may have read what was wrong.
    assert len(applied.servers()) == 1 and applied.servers() != served_by
    applied.nothing_to_do()
    assert applied.ok("audit", "verify", "--deep")


def test_a_flip_that_stat_does_not_show(applied):
    """The time stamp set back: the change time still tells, without --deep."""
    path = applied.weights / "config.json"
    path.chmod(0o644)
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert applied.run("audit", "verify", "weights").code == 5
    assert "config.json" in applied.ok("plan").out
    applied.applied()
    assert path.read_bytes() == (REPOSITORY / "examples/quickstart/repository/config.json").read_bytes()


def test_foreign_file_beside_the_weights(applied):
    """Not ours: neither drift nor anything to remove."""
    notes = applied.weights / "notes.txt"
    notes.write_text("mine")
    applied.nothing_to_do()
    applied.applied("--replace", "weights")
    assert notes.read_text() == "mine"
    notes.unlink()


def test_process_killed(applied):
    (pid,) = applied.servers()
    os.kill(pid, signal.SIGKILL)
    planned = applied.planned()
    assert set(planned) == {"service", "accept"} and planned["service"][0] == "container_gone", planned
    found = applied.run("audit", "verify", "service")
    assert found.code == 5, found
    applied.applied()
    (new,) = applied.servers()
    assert new != pid and applied.ask() == 200
    applied.nothing_to_do()


def test_port_taken_while_it_was_down(applied):
    (pid,) = applied.servers()
    os.kill(pid, signal.SIGKILL)
    while applied.servers():
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A process is gone from sight a moment before its sockets are.
        for _ in range(100):
            try:
                other.bind(("127.0.0.1", applied.port))
                break
            except OSError:
                time.sleep(0.05)
        other.listen()
        done = applied.apply()
        assert done.code == 4 and str(applied.port) in done.text and str(os.getpid()) in done.text, done
    applied.applied()
    assert applied.ask() == 200


def test_flag_edited(applied):
    (pid,) = applied.servers()
    applied.edit("provision.yaml", "ready: {path: /health, timeout: 30s}", "ready: {path: /health, timeout: 31s}")
    applied.edit("provision.yaml", 'command: [python3, server.py,', 'command: [python3, -u, server.py,')
    try:
        plan = applied.ok("plan")
        assert "parameter changed: command" in plan.out and "DOWN" in plan.out, plan
        # A running service is not replaced without a word.
        refused = applied.run("apply")
        assert refused.code == 7 and applied.servers() == [pid], refused
        why = applied.ok("why", "service")
        assert "command" in why.out and "-u" in why.out, why
        applied.applied()
        (new,) = applied.servers()
        assert new != pid and applied.ask() == 200
        assert "weights" not in applied.planned()
    finally:
        applied.edit("provision.yaml", "timeout: 31s", "timeout: 30s")
        applied.edit("provision.yaml", "[python3, -u, server.py,", "[python3, server.py,")


def test_new_service_that_does_not_start(applied):
    """The old one comes back."""
    before = applied.read("provision.yaml")
    applied.edit("provision.yaml", "command: [python3, server.py,", "command: [python3, server.py, --no-such-option,")
    try:
        done = applied.apply()
        assert_refused(done, 1, "E0803", "no-such-option")
        assert applied.ask() == 200 and len(applied.servers()) == 1
    finally:
        applied.write("provision.yaml", before)
    # The same command runs again, as a new process: it is accepted anew, and that is all.
    assert set(applied.planned()) <= {"accept"}
    applied.applied()
    applied.nothing_to_do()


def test_new_service_that_is_not_accepted(applied):
    before = applied.read("provision.yaml")
    (pid,) = applied.servers()
    applied.edit("provision.yaml", "command: [python3, server.py,", "command: [python3, -u, server.py,")
    applied.edit("provision.yaml", "contains: stand-in", "contains: nothing like that")
    try:
        done = applied.apply()
        assert_refused(done, 1, "E0804", "sentence", "nothing like that")
        assert applied.ask() == 200 and len(applied.servers()) == 1
    finally:
        applied.write("provision.yaml", before)
    applied.applied()
    applied.nothing_to_do()


# ------------------------------------------------------------------ two at once


@pytest.fixture
def waiting(tmp_path):
    """A project whose apply waits for a file, so that the test decides when it goes on."""
    project = Project(tmp_path / "w")
    project.write("provision.yaml", "provision: 1\nname: waiting\ntargets:\n  first: {rule: directory, path: made}\n  slow:\n    rule: command\n    needs: [first]\n"
                  "    shell: true\n    command: while ! test -e go; do sleep 0.02; done; touch out\n    outputs: [out]\n")
    return project


def begun(project):
    running = project.start("apply", "--yes")
    running.wait_for(lambda e: e["type"] == "target_start" and e["target"] == "slow")
    return running


def test_two_applies(waiting):
    running = begun(waiting)
    second = waiting.apply()
    assert_refused(second, 75, "E0901", str(running.process.pid), "apply")
    machine = waiting.run("apply", "--yes", "--json")
    assert machine.code == 75 and assert_events(machine)[-1]["exit"] == 75, machine
    assert waiting.run("destroy", "--yes").code == 75
    waiting.write("go", "")
    first = running.end()
    assert first.code == 0, first
    waiting.nothing_to_do()


def test_waiting_for_the_lock(waiting):
    running = begun(waiting)
    second = waiting.start("apply", "--yes", "--lock-timeout", "60s")
    told = second.wait_for(lambda e: e["type"] == "lock_wait")
    assert told["holder"]["pid"] == running.process.pid, told
    waiting.write("go", "")
    assert running.end().code == 0
    done = second.end()
    assert done.code == 0 and done.events()[-1]["changed"] == 0, done


def test_many_applies_at_once(tmp_path):
    """Started together on a fresh project: each ends with success or with the lock's status, and the work is done once."""
    project = Project(tmp_path / "m")
    project.write("provision.yaml", "provision: 1\nname: m\ntargets:\n  a: {rule: command, shell: true, command: 'echo x >>ran; sleep 0.2; touch out', outputs: [out]}\n")
    results = []
    threads = [threading.Thread(target=lambda: results.append(project.apply())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.code for r in results} <= {0, 75} and any(r.code == 0 for r in results), results
    assert project.read("ran") == "x\n"
    project.nothing_to_do()


def test_plan_does_not_wait(waiting):
    running = begun(waiting)
    for command in (["plan"], ["status"], ["audit"], ["why", "slow"]):
        done = waiting.run(*command, timeout=5)
        assert done.code == 0, done
        assert running.process.poll() is None
    assert "running now" in waiting.ok("status").out
    waiting.write("go", "")
    assert running.end().code == 0


# ------------------------------------------------------------------ where nothing can be written


def test_read_only_directory(tmp_path):
    """A plan needs no right to write; an apply says what it could not make."""
    project = Project(tmp_path / "ro")
    if os.geteuid() == 0:
        # Root is stopped by no mode; by a directory that takes no files it is.
        project.write("m.yaml", "provision: 1\nname: m\ntargets: {a: {rule: directory, path: /proc/self/made}}\n")
        project.ok("plan", "m.yaml")
        done = project.run("apply", "--yes", "--cache", "/proc/self/cache.db", "m.yaml")
        assert done.code in (73, 74, 77, 66) and "/proc/self" in done.text and "E0999" not in done.text, done
        return
    project.write("m.yaml", "provision: 1\nname: m\ntargets: {a: {rule: directory, path: made}}\n")
    project.root.chmod(0o500)
    try:
        project.ok("plan", "m.yaml")
        done = project.run("apply", "--yes", "m.yaml")
        assert done.code in (73, 77) and ".provision" in done.text, done
    finally:
        project.root.chmod(0o700)


def test_state_directory_is_a_file(fresh):
    fresh.write(".provision", "somebody's notes")
    done = fresh.apply()
    assert done.code == 73 and ".provision" in done.text, done
    assert fresh.read(".provision") == "somebody's notes"
    assert fresh.run("plan").code == 0


def test_cache_that_is_garbage(applied, tmp_path):
    path = tmp_path / "state" / "cache.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database, but it is long enough to have a header of its own" * 100)
    before = path.read_bytes()
    for command in (["plan"], ["apply", "--yes"], ["audit"]):
        done = applied.run(command[0], "--cache", path, *command[1:])
        assert_refused(done, 74, "E0902", "cache.db")
        assert path.read_bytes() == before


def test_broken_pipe(applied):
    """Readers die of it in silence."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([BINARY, "plan", "-v"], cwd=applied.root, env=applied.env, stdin=subprocess.DEVNULL, stdout=writes, stderr=subprocess.PIPE, timeout=20)
    os.close(writes)
    assert done.returncode == -signal.SIGPIPE and done.stderr == b"", done


def test_full_disk_for_stdout(applied):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BINARY, "plan", "-v"], cwd=applied.root, env=applied.env, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 74, done
