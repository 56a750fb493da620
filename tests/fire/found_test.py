"""What the sweep has found, each strike found again by its call and path, since numbers change with the program."""

import errno
import os
import pathlib
import re

import oracle
import pytest
from ground import Ground
from scenes import SCENES

# scene, calls, path below the project, which of those, error (None: killed after it), for ever
FOUND = {
    "what was started lives on where nothing can be read": ("edit", "pread64", r"\.provision/runtime/.*\.log", 0, "EIO", True),
    "a manifest that cannot be looked at counts as none": ("first", "newfstatat", r"provision\.yaml", 0, "EIO", True),
    "a directory is left without its mode": ("first", "mkdirat", "work/model", 0, None, False),
    "a file that cannot be opened counts as somebody else's": ("first", "openat2", "work/model/config.json", 0, "ENOMEM", False),
    "a part that cannot be taken over is fetched again and stays": ("resume", "renameat2", r"work/model/.*\.part", 0, "ENOMEM", False),
    "a part that cannot be opened is fetched again": ("resume", "openat2", r"work/model/.*\.part", 0, "EMFILE", False),
    "a lock that cannot be opened counts as none": ("edit", "openat", r"\.provision/lock", 1, "EIO", False),
    "a lock that cannot be looked at counts as in the way": ("first", "newfstatat,fstat", r"\.provision/lock", 0, "EIO", True),
    "the cause is lost behind SQLite's tidying up": ("first", "pwrite64,write,openat,unlink", r"\.provision/cache\.db.*-wal", 3, "EDQUOT", True),
    "a disk that cannot read counts as a malformed database": ("first", "pread64", r"\.provision/cache\.db", 4, "EIO", True),
    "a page that cannot be read counts as damaged": ("resume", "pread64", r"\.provision/cache\.db", -1, "EIO", True),
    "a file that cannot be looked into counts as no pickle": ("first", "pread64", "work/model/tokenizer.json", 0, "EIO", False),
    "a part that cannot be looked at counts as taken away": ("first", "newfstatat", r"work/model/.*\.part", 1, "ENOMEM", False),
    "an output that cannot be looked at is no longer ours": ("destroy-again", "newfstatat", "work/built.list", -1, "EIO", False),
    "a download that cannot be looked at counts as removed": ("destroy-again", "newfstatat", "work/archive.bin", -1, "EIO", False),
    "a record that cannot be written is told twice": ("first", "pwrite64", r"\.provision/cache\.db-wal", 40, "ENOSPC", False),
    "a lock that is refused counts as one that two may hold": ("first", "lock", r"\.provision/lock", 1, "ENOLCK", False),
    "a run that cannot begin is told twice": ("edit", "pwrite64", r"\.provision/cache\.db-wal", 0, "ENOSPC", True),
}


class Job:
    def __init__(self, error, for_ever):
        self.error, self.for_ever = error, for_ever


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    made = Ground(tmp_path_factory.mktemp("fire") / "ground", pathlib.Path(os.environ["FIRE_TOOLS"]).resolve(), 20600)
    yield made
    made.end_processes()


def number_of(ground, scene, counted, names, path, which):
    """The number of the call among the counted ones."""
    scene.set(ground)
    ground.run(*scene.words, strike=("-d", ground.project, "-a", counted, "-l", ground.list))
    lines = [line.split(" ", 3) for line in ground.list.read_text().splitlines()]
    return [int(number) for number, _, name, at in lines
            if name in names.split(",") and re.fullmatch(path, os.path.relpath(at, ground.project))][which]


@pytest.mark.parametrize("name", FOUND)
def test_found(ground, name):
    scene, names, path, which, error, for_ever = FOUND[name]
    scene = SCENES[scene]
    counted = f",{names}," if error else f",{names},openat,openat2,fsync,"
    number = number_of(ground, scene, counted, names, path, which)
    scene.set(ground)
    how = ("-f", number, "-e", getattr(errno, error), *(["-F"] if for_ever else [])) if error else ("-K", number + 1)
    ended = ground.run(*scene.words, strike=("-d", ground.project, "-a", counted, *how))
    _, _, _, struck, call = ground.struck()
    if error:
        assert struck
        assert oracle.judge_error(ground, ended, struck, call, Job(error, for_ever)) == "refused"
    else:
        assert ended.code == 137
    ground.quiet_hub()
    oracle.check_names(ground)
    oracle.check_fresh(ground)
    scene.go_on(ground)


def stacks(ground):
    """The numbers of the calls that map a thread's stack: the next one guards it."""
    scene = SCENES["first"]
    scene.set(ground)
    ground.run(*scene.words, strike=("-m", "-l", ground.list))
    lines = [line.split(" ", 3) for line in ground.list.read_text().splitlines()]
    return [int(one[0]) for one, next_one in zip(lines, lines[1:]) if one[2] == "mmap" and next_one[2] == "mprotect" and int(next_one[1]) == int(one[1]) + 1]


def test_a_thread_without_memory_for_its_stack(ground):
    """It was an internal error of which nobody could tell the cause."""
    scene, first = SCENES["first"], stacks(ground)[0]
    scene.set(ground)
    ended = ground.run(*scene.words, strike=("-m", "-f", first, "-e", errno.ENOMEM))
    _, _, _, struck, _ = ground.struck()
    assert oracle.judge_memory(ended, struck) == "refused"
    assert ended.code == 74 and "start a thread: Resource temporarily unavailable" in ended.err
    oracle.check_names(ground)
    oracle.check_fresh(ground)
    scene.go_on(ground)
