"""The ground of a sweep: one worker's hub, project and programs, in memory, made anew for each run.

The manifest has every rule that needs neither GPU nor container engine. What a right result looks like is computed here, from what the hub serves and what the inputs hold."""

import hashlib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PIECE = 65536          # of the build under test: tests/fire.cmake
TIMEOUT = 30
LAST_PORT = 32000      # beyond are those that the kernel deals out
MANIFEST = """provision: 1
name: fire
targets:
  host: {{rule: host, disk: [{{path: ., free: 1MB}}], ports: [{port}]}}
  work: {{rule: directory, needs: [host], path: work, mode: "0750"}}
  archive: {{rule: download, needs: [work], url: "{hub}/plain/acme/files/archive.bin", path: work/archive.bin, sha256: {sha256}, mode: "0440"}}
  preflight: {{rule: preflight, needs: [host], model: "huggingface:acme/shape", gpu_count: 1, gpu_memory: 24GiB}}
  weights: {{rule: model, needs: [preflight], source: "huggingface:acme/tiny", dir: work/model}}
  built:
    rule: command
    needs: [work]
    command: [{stand_in}, make, work/built, work/built.d, in.txt, more.txt]
    inputs: [in.txt]
    depfile: work/built.d
    outputs: [work/built, work/built.list, work/built.d]
  service:
    rule: service
    runtime: process
    needs: [weights, built, archive]
    command: [{stand_in}, serve, "{{host}}", "{{port}}"]
    env: {{EDITION: {edition}}}
    port: {port}
    ready: {{timeout: 10s, interval: 10ms}}
    stop_timeout: 2s
  accept: {{rule: validate, url: "${{service.url}}", model: fire, checks: [{{name: up, http: {{path: /health}}}}]}}
"""
BIG = "model-00001-of-00002.safetensors"


def load_hub():
    spec = importlib.util.spec_from_file_location("hub", HERE.parent / "fake" / "hub.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hub = load_hub()


def safetensors(name, content):
    header = json.dumps({name: {"dtype": "BF16", "shape": [len(content) // 2], "data_offsets": [0, len(content)]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content


def model(chance, big, small):
    """{name: bytes}: a repository with one file of several pieces."""
    index = {"weight_map": {"model.layers.0.weight": BIG, "model.layers.1.weight": BIG.replace("00001", "00002", 1)}}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "num_attention_heads": 32,
              "num_key_value_heads": 2, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 1024,
              "max_position_embeddings": 2048}
    return {BIG: safetensors("model.layers.0.weight", chance.randbytes(big)),
            BIG.replace("00001", "00002", 1): safetensors("model.layers.1.weight", chance.randbytes(small)),
            "model.safetensors.index.json": json.dumps(index).encode(), "config.json": json.dumps(config).encode(),
            "tokenizer.json": b'{"version": "1.0"}'}


class Log(hub.State):
    """Counts what is on its way, too, and keeps each span that was sent."""

    def reset(self):
        super().reset()
        self.spans = []
        self.busy = 0


class Logged:
    disable_nagle_algorithm = True

    def send_bytes(self, file, start, end, fault):
        state = self.server.state
        before = state.bytes.get(file.name, 0)
        with state.lock:
            state.busy += 1
        try:
            super().send_bytes(file, start, end, fault)
        finally:
            with state.lock:
                state.busy -= 1
                state.spans.append(("/".join(file.path.parts[-2:]), start, state.bytes.get(file.name, 0) - before))


class Hub(Logged, hub.Hub):
    pass


class Cdn(Logged, hub.Cdn):
    pass


class Run:
    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = words, code, out, err

    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self):
        return f"{' '.join(self.words)} -> {self.code}\n{self.out}{self.err}"


class Ground:
    def __init__(self, root, tools, first_port):
        self.root, self.tools = pathlib.Path(root), tools
        self.project, self.home = self.root / "project", self.root / "home"
        self.program = str(tools / "provision-fire")
        self.strike = str(tools / "strike")
        self.stand_in = str(tools / "stand_in")
        self.report, self.list = self.root / "report", self.root / "list"
        self.root.mkdir(parents=True)
        self.home.mkdir()
        self.fill_hub()
        self.open_hub(first_port)
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
                    "HF_ENDPOINT": self.hub.url, "DOCKER_HOST": f"unix://{self.root}/no-engine"}

    # ---- the hub

    def fill_hub(self):
        chance = random.Random(1)
        self.weights = model(chance, 3 * PIECE + 1000, PIECE // 2)
        self.archive = chance.randbytes(2 * PIECE + 500)
        for repo, files in {"tiny": self.weights, "shape": model(chance, 100, 100), "files": {"archive.bin": self.archive}}.items():
            directory = self.root / "hub" / "acme" / repo
            directory.mkdir(parents=True)
            for name, content in files.items():
                (directory / name).write_bytes(content)

    def open_hub(self, port):
        self.log = Log()
        shared = {"state": self.log, "repositories": hub.Repositories(self.root / "hub", 10 << 20)}
        self.cdn, port = self.listen(port, Cdn, **shared)
        self.hub, port = self.listen(port, Hub, cdn_url=self.cdn.url, page_size=1000, token=None, **shared)
        self.port = port
        while not self.is_free(self.port):
            self.port += 1

    @staticmethod
    def listen(port, handler, **shared):
        while port < LAST_PORT:
            try:
                server = hub.Server(port, handler, **shared)
            except OSError:
                port += 1
                continue
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return server, port + 1
        raise OSError("no free port")

    @staticmethod
    def is_free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return probe.connect_ex(("127.0.0.1", port)) != 0

    def quiet_hub(self):
        """What was sent to a client that is gone is counted before the next one comes."""
        until = time.monotonic() + 5
        while self.log.busy and time.monotonic() < until:
            time.sleep(0.001)

    def sent(self):
        """{repository/file: bytes}, and [(repository/file, from, bytes)], since the last call."""
        self.quiet_hub()
        with self.log.lock:
            spans, self.log.spans = self.log.spans, []
        total = {}
        for name, _, count in spans:
            total[name] = total.get(name, 0) + count
        return total, spans

    # ---- the project

    def renew(self, edition="one"):
        """An empty project, and no process left of the one before."""
        self.end_processes()
        shutil.rmtree(self.project, ignore_errors=True)
        self.project.mkdir()
        self.edit(edition)
        self.sent()

    def edit(self, edition):
        self.edition = edition
        for name, text in {"in.txt": f"in, edition {edition}\n", "more.txt": "more\n"}.items():
            (self.project / name).write_text(text)
        (self.project / "provision.yaml").write_text(MANIFEST.format(
            hub=self.hub.url, port=self.port, sha256=hashlib.sha256(self.archive).hexdigest(), stand_in=self.stand_in, edition=edition))

    def expected(self):
        """{target: {path: bytes}}: what has to be on disk for a target to be fresh."""
        text = b"".join((self.project / name).read_bytes() for name in ("in.txt", "more.txt"))
        names = "in.txt", "more.txt"
        return {
            "archive": {"work/archive.bin": self.archive},
            "weights": {f"work/model/{name}": content for name, content in self.weights.items()},
            "built": {"work/built": text, "work/built.list": "".join(f"+{n}" for n in names).encode() + b"\n",
                      "work/built.d": b"work/built:" + "".join(f" {n}" for n in names).encode() + b"\n"},
        }

    # ---- programs

    def run(self, *words, strike=(), **env):
        """The program with these words; with the words of strike.c before it if it is to be struck, and with what its environment has besides."""
        command = [self.strike, "-o", str(self.report), *map(str, strike), "--", self.program] if strike is not None and len(strike) else [self.program]
        words = [*words]
        process = subprocess.Popen([*command, *words], cwd=self.project, env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.end_processes()
            process.kill()
            out, err = process.communicate()
            return Run(words, "hang", out.decode(errors="replace"), err.decode(errors="replace"))
        return Run(words, process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def apply(self, **more):
        return self.run("apply", "--yes", "-j", "1", "--downloads", "1", **more)

    def destroy(self, **more):
        return self.run("destroy", "--yes", "-j", "1", **more)

    def struck(self):
        """(calls, changes, calls on files, struck, name and path of the first that was)."""
        words = self.report.read_text().split(None, 8)
        return *(int(word) for word in words[1:8:2]), words[8].strip() if len(words) > 8 else ""

    def processes(self):
        """{pid: argv} of all that carry this ground's mark, which children inherit."""
        mark, found = f"HOME={self.home}\0".encode(), {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark not in file.read():
                        continue
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found[int(pid)] = file.read().decode().split("\0")[:-1]
            except OSError:
                continue
        return found

    def environ(self, pid):
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()

    def wait_for_commands(self):
        """Children that outlive the program end by themselves, but for the service."""
        until = time.monotonic() + 5
        while any(words[1:2] != ["serve"] for words in self.processes().values()) and time.monotonic() < until:
            time.sleep(0.002)

    def end_processes(self):
        """Returns when they have let go of all they held: one that is ending has no environment any more, but its port still."""
        until, ended = time.monotonic() + 5, set()
        while ((found := self.processes()) or any(map(self.is_ending, ended))) and time.monotonic() < until:
            ended |= set(found)
            for pid in found:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            time.sleep(0.001)

    @staticmethod
    def is_ending(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
