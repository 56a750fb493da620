"""A sweep that cannot fail proves nothing: after each damage the oracle speaks up, and without any it is silent."""

import os
import pathlib
import subprocess
import time

import oracle
import pytest
import scenes
from ground import BIG, PIECE, Ground, Run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ground = Ground(tmp_path_factory.mktemp("fire") / "ground", pathlib.Path(os.environ["FIRE_TOOLS"]).resolve(), 20500)
    yield ground
    ground.end_processes()


@pytest.fixture
def ground(made):
    """A project where everything is applied."""
    made.renew()
    scenes.must(made.apply())
    return made


def look(ground):
    """All checks of a run whose strike did nothing."""
    oracle.check_names(ground)
    oracle.check_fresh(ground)
    scenes.First().go_on(ground)


def write(ground, path, content):
    at = ground.project / path
    at.parent.mkdir(parents=True, exist_ok=True)
    if at.exists():
        at.chmod(0o644)
    at.write_bytes(content)


def half(ground, path):
    content = (ground.project / path).read_bytes()
    write(ground, path, content[: len(content) // 2])


def believe(ground, monkeypatch):
    """The program calls something fresh that is not what is asked for."""
    right = ground.expected()
    monkeypatch.setattr(ground, "expected", lambda: right | {"built": {"work/built": b"other"}})


def answer(ground, monkeypatch, wrong):
    """What the program answers to a command, instead of running it."""
    run = ground.run
    monkeypatch.setattr(ground, "run", lambda *words, **more: wrong(run(*words, **more)))


def fetch(ground, monkeypatch):
    apply = ground.apply

    def and_more():
        done = apply()
        ground.log.spans.append((f"tiny/{BIG}", 0, 1))
        return done
    monkeypatch.setattr(ground, "apply", and_more)


def linger(ground):
    before = len(ground.processes())
    subprocess.Popen(["sleep", "60"], env=ground.env)
    until = time.monotonic() + 10
    while len(ground.processes()) == before and time.monotonic() < until:
        time.sleep(0.01)


def corrupt(ground):
    path = ground.project / ".provision" / "cache.db"
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 9] = bytes(range(256)) * 16 * 7
    path.write_bytes(content)


DAMAGES = {
    "half a file": (lambda g, m: half(g, "work/archive.bin"), "wrong final file"),
    "a byte of a weight": (lambda g, m: write(g, f"work/model/{BIG}", bytes(len(g.weights[BIG]))), "wrong final file"),
    "false belief": (believe, "false fresh"),
    "another mode of the directory": (lambda g, m: m.setattr(g, "apply", lambda: (Ground.apply(g), (g.project / "work" / "model").chmod(0o700))[0]), "wrong mode"),
    "a part that stays": (lambda g, m: write(g, "work/.provision/parts/x.part", b"x"), "leftover"),
    "a process that stays": (lambda g, m: m.setattr(g, "apply", lambda: (Ground.apply(g), linger(g))[0]), "orphan"),
    "a byte fetched again": (fetch, "fetched again"),
    "a plan that writes": (lambda g, m: answer(g, m, lambda run: (write(g, "more.txt", b"more\n"), run)[1]), "plan changed something"),
    "a run that fails": (lambda g, m: m.setattr(g, "apply", lambda: Run(("apply",), 1, "", "")), "second run fails"),
    "a broken database": (lambda g, m: corrupt(g), "database"),
}


def test_silent(ground):
    look(ground)


@pytest.mark.parametrize("name", DAMAGES)
def test_speaks_up(ground, monkeypatch, name):
    damage, kind = DAMAGES[name]
    damage(ground, monkeypatch)
    with pytest.raises(oracle.Broken) as broken:
        if kind == "database":
            oracle.checkpoints(ground)
        look(ground)
    assert broken.value.kind == kind, broken.value


RIGHT = "error[E0905]: write `/x/cache.db`: Input/output error\n"
JOB = type("Job", (), {"error": "EIO", "for_ever": False})


@pytest.mark.parametrize("code, err, kind", [(74, RIGHT, None), (1, RIGHT, "wrong status"), (74, "", "not one message"), (74, RIGHT * 2, "not one message"),
                                             (74, "error[E0905]: write `x`: no\n", "no cause"), (74, "error[E0905]: Input/output error\n", "no path")])
def test_errors_are_judged(made, code, err, kind):
    ended = Run(("apply",), code, "", err)
    if kind is None:
        assert oracle.judge_error(made, ended, 1, "write /x", JOB) == "refused"
        return
    with pytest.raises(oracle.Broken) as broken:
        oracle.judge_error(made, ended, 1, "write /x", JOB)
    assert broken.value.kind == kind


def test_a_late_checkpoint_is_noticed(made):
    """Killed in the middle of the large file: what is written is at most a piece ahead of what is recorded."""
    scenes.Resume().set(made)
    assert oracle.most_to_fetch(made)[f"tiny/{BIG}"] < len(made.weights[BIG])
    (part,) = (made.project / "work" / "model" / ".provision" / "parts").glob("*.part")
    with open(part, "ab") as file:
        file.write(bytes(PIECE + 1))
    with pytest.raises(oracle.Broken) as broken:
        oracle.most_to_fetch(made)
    assert broken.value.kind == "checkpoint too late"
