"""Servers and engines that fail, lie or attack: the right bytes arrive, or the run ends in time with one code that names the culprit. The table is fire/faults.py.

All rows of a session run side by side, since most of what they do is wait; each test looks at what came of its own.
"""

import concurrent.futures
import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import canary
import pytest
from hubs import digests, make_model
from project import Project, is_sanitized
from story import free_port

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fire"))
import faults  # noqa: E402

WORKERS = 12
taken = set()
UNNEEDED = {"assets/picture.png", "README.md", "LICENSE", ".gitattributes"}


@dataclasses.dataclass
class Outcome:
    """What came of one row."""
    first: object = None
    seconds: float = 0
    hung: bool = False
    wrong: list = dataclasses.field(default_factory=list)


def files_of(project):
    return {name: digest for name, digest in digests(project.path("out")).items() if not Path(name).name.startswith(".provision")} if project.path("out").exists() else {}


def service_port():
    """Not among the servers' own, and no other row's."""
    port = next(port for port in iter(free_port, None) if port > faults.PORTS[1] and port not in taken)
    taken.add(port)
    return port


class Attempt:
    """One row in a project and at a site of its own."""

    def __init__(self, row, root, directory, secret, authority):
        self.row = row
        # A socket's path has at most 107 bytes.
        self.sockets = tempfile.TemporaryDirectory(prefix="pf-")
        self.socket = f"{self.sockets.name}/engine.sock"
        self.site = faults.Site(row, root, authority.server(row.tls) if row.tls else None, self.socket, [secret])
        self.outcome = Outcome()
        self.project = Project(directory / "p", HF_ENDPOINT=self.site.hub.url, MODELSCOPE_ENDPOINT=self.site.hub.url, DOCKER_HOST=f"unix://{self.socket}", CANARY=secret,
                               SSL_CERT_FILE=authority.directory / "ca.pem", **row.env)
        self.broken = row.tls not in ("", "good")
        if row.stage == "build":
            self.project.write("context/Dockerfile", "FROM scratch\nCOPY x /x\n")
            self.project.write("context/x", "content")
        self.wanted = digests(root / faults.REPO)
        self.project.write("provision.yaml", faults.STAGES[row.stage].format(
            hub=self.site.hub.url, sha256=self.wanted[faults.SHARD], size=self.site.size, port=service_port(), more=row.more))

    def check(self, good, what):
        if not good:
            self.outcome.wrong.append(what)

    def apply(self):
        began = time.monotonic()
        limit = self.row.limit * (5 if is_sanitized() else 1)
        try:
            return self.project.apply(timeout=limit)
        except subprocess.TimeoutExpired:
            self.outcome.hung = True
            self.check(False, f"it hangs: not done after {limit} s")
            return None
        finally:
            self.outcome.seconds = max(self.outcome.seconds, time.monotonic() - began)

    def check_sound(self, whole):
        """What has a final name is right, all of it is there if it should be, and nothing lies outside."""
        found = files_of(self.project)
        self.check(all(self.wanted.get(name) == digest for name, digest in found.items()), f"wrong bytes under a final name: {sorted(found)}")
        if self.row.stage in ("download", "unsized"):
            self.check(not whole or list(found) == [faults.SHARD], f"files: {sorted(found)}")
        elif self.row.stage in ("huggingface", "modelscope", "plain"):
            self.check(not whole or self.wanted.keys() - UNNEEDED <= found.keys(), f"files: {sorted(found)}")
        elif self.row.stage == "service":
            self.check(len(self.site.engine.containers) == whole, f"containers: {list(self.site.engine.containers)}")
        self.check({path.name for path in self.project.root.iterdir()} <= {"provision.yaml", "out", "context", ".provision"}, "something lies beside the project's own")
        self.check({path.name for path in self.project.root.parent.iterdir()} <= {"p", "p-home"}, "something lies outside the project")
        self.check(not self.site.leaks, f"leaks: {self.site.leaks}")

    def check_said(self, done):
        row = self.row
        self.check(done.code == row.exit, f"exit {done.code} instead of {row.exit}")
        self.check("E0999" not in done.text and "Sanitizer" not in done.text, "it came to grief")
        self.check(not any(ord(c) < 32 and c != "\n" or c == "\x7f" for c in done.text), "control characters in the output")
        self.check(not canary.holds(done.text.encode()), "the secret is in the output")
        if row.code:
            self.check(f"error[{row.code}]" in done.text, f"no error[{row.code}]")
            for word in row.words:
                self.check(word in done.text, f"`{word}` is not in the message")

    def run(self):
        done = self.outcome.first = self.apply()
        if done:
            self.check(self.site.struck() or self.row.times == 0, f"the fault was never met: {self.site.requests}")
            self.check_said(done)
            self.check_sound(done.code == 0)
            # Once all is well, the same command finishes.
            if self.broken:
                return self.outcome
            self.site.heal()
            again = self.apply()
            self.check(again and again.code == 0, f"not mended: {again}")
            if again and again.code == 0:
                self.check_sound(True)
                plan = self.project.run("plan", "--detailed-exitcode")
                self.check(plan.code == 0 and "Nothing to do" in plan.out, f"not settled: {plan}")
        return self.outcome

    def end(self):
        self.site.end()
        self.sockets.cleanup()


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """{row: future outcome} of all rows that this session asks for."""
    names = [item.callspec.params["name"] for item in request.session.items if item.originalname == "test_fault"]
    root = tmp_path_factory.mktemp("hub") / "hub"
    make_model(root / faults.REPO)
    authority = faults.Authority(root.parent / "authority")
    base = tmp_path_factory.mktemp("rows")

    def attempt(name):
        directory = base / name[:100]
        directory.mkdir()
        with contextlib.closing(ending(Attempt(faults.ROWS[name], root, directory, canary.SECRET, authority))) as running:
            return running.thing.run()

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        # What takes longest first, so that nobody waits for it alone at the end.
        yield {name: pool.submit(attempt, name) for name in sorted(names, key=lambda name: -faults.ROWS[name].limit)}
        pool.shutdown(cancel_futures=True)


class ending:
    """For closing()."""

    def __init__(self, thing):
        self.thing, self.close = thing, thing.end


@pytest.mark.parametrize("name", sorted(faults.ROWS))
def test_fault(outcomes, name):
    if faults.ROWS[name].stage == "build" and not shutil.which("docker"):
        pytest.skip("there is no docker command")
    outcome = outcomes[name].result()
    assert not outcome.wrong, f"{faults.ROWS[name]}\n{outcome.wrong}\n{outcome.seconds:.1f} s\n{outcome.first}"
