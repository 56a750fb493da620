"""`provision audit verify`: what stat data tells, what bytes tell, and how soon it lets go."""

import json
import os
import random
import signal
import subprocess
import time

import pytest
from project import Project, assert_refused
from story import BINARY

HEAD = "provision: 1\nname: proof\ntargets:\n"
MAKE = "  make:\n    rule: command\n    inputs: [seed]\n    shell: true\n    command: cp seed/* out/\n    outputs: [out/0, out/1, out/2, out/3, out/4, out/5]\n"


@pytest.fixture
def project(tmp_path):
    """Six files of different sizes, one of them empty, made by one target."""
    made = Project(tmp_path / "project")
    chance = random.Random(7)
    for n, size in enumerate((0, 1, 70_000, 1 << 20, (1 << 20) + 1, 3_000_000)):
        made.write(f"seed/{n}", chance.randbytes(size))
    made.write("provision.yaml", HEAD + MAKE)
    made.applied()
    return made


def flip(path, at):
    """One bit, with the size and, as far as a user can, the times left as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def document(done):
    return json.loads(done.out)


@pytest.mark.parametrize("level", ["--quick", None, "--deep"])
def test_all_is_well(project, level):
    done = project.ok("audit", "verify", *([level] if level else []))
    assert "make" in done.out and "chain intact" in done.out, done
    told = document(project.ok("audit", "verify", "--json", *([level] if level else [])))
    assert told["ok"] and told["level"] == (level or "--normal")[2:] and [r["target"] for r in told["records"]] == ["make"]
    assert told["files_read"] == (6 if level == "--deep" else 0), told
    assert told["bytes_read"] == (sum(p.stat().st_size for p in project.path("out").iterdir()) if level == "--deep" else 0), told


@pytest.mark.parametrize("level", ["--quick", None, "--deep"])
def test_one_flipped_bit_in_one_of_many(project, level):
    flip(project.path("out/4"), 1 << 20)
    before = project.tree()
    options = [level] if level else []
    done = project.run("audit", "verify", *options)
    assert_refused(done, 5, "E0911", "out/4")
    assert "out/3" not in done.text and "out/5" not in done.text, done
    told = project.run("audit", "verify", "--json", *options)
    assert told.code == 5 and told.err == "", told
    told = document(told)
    [record] = told["records"]
    assert not told["ok"] and not record["ok"] and len(record["findings"]) == 1 and "out/4" in record["findings"][0]["msg"], told
    if level != "--quick":
        assert "recorded sha256" in json.dumps(record["findings"][0]), told
    assert project.tree() == before


def test_missing_and_cut(project):
    project.path("out/2").unlink()
    project.path("out/5").chmod(0o600)
    with project.path("out/5").open("r+b") as file:
        file.truncate(5)
    for level in ([], ["--quick"], ["--deep"]):
        done = project.run("audit", "verify", *level)
        assert_refused(done, 5, "E0911", "out/2 is missing", "recorded 3000000 bytes, now 5")


def test_touched_is_no_change(project):
    """Other stat data, the same bytes: whoever reads sees that; --quick cannot know, and says how to find out."""
    os.utime(project.path("out/3"))
    done = project.ok("audit", "verify", "--json")
    assert document(done)["files_read"] == 1
    done = project.run("audit", "verify", "--quick")
    assert_refused(done, 5, "E0911", "out/3", "without --quick")


def test_levels_exclude_each_other(project):
    assert_refused(project.run("audit", "verify", "--quick", "--deep"), 64, "E0001", "--quick")


def ticks(process):
    """Hundredths of a second that it has computed."""
    with open(f"/proc/{process.pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[11])


def test_interrupt(project):
    """Gigabytes in hand, a signal lets go at once, and says how far it was."""
    project.write("provision.yaml", HEAD + "  big: {rule: command, command: [truncate, -s, 2G, out/big], outputs: [out/big]}\n")
    project.applied(timeout=300)
    process = subprocess.Popen([BINARY, "audit", "verify", "--deep"], cwd=project.root, env=project.env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while ticks(process) < 10:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert process.returncode == -signal.SIGINT, (out, err)
    assert "E0910" in err and "after 0 of 1 files" in err and "chain" not in out, (out, err)
    assert took < 1, f"{took} s after the signal"
    project.path("out/big").unlink()
