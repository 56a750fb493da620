"""The story that the tests tell: a model of GLM-4.1V's shape on a hub, manifests in three shapes, a server in a container that really reads the weights.

`Story` is a project directory with its manifests, and the questions that tests ask about it.
"""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import threading
from pathlib import Path

import canary
from engine import docker
from hubs import safetensors

BINARY = os.environ.get("PROVISION", "provision")
TIMEOUT = 120
SHARDS = 4
REPO = "acme/glm"

# The values of GLM-4.1V-9B-Thinking.
CONFIG = {
    "architectures": ["Glm4vForConditionalGeneration"],
    "model_type": "glm4v",
    "image_token_id": 151343,
    "video_token_id": 151344,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "glm4v_text",
        "num_hidden_layers": 40,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "intermediate_size": 13696,
        "vocab_size": 151552,
        "max_position_embeddings": 65536,
        "partial_rotary_factor": 0.5,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]},
        "torch_dtype": "bfloat16",
    },
    "vision_config": {
        "model_type": "glm4v",
        "depth": 24,
        "hidden_size": 1536,
        "num_heads": 12,
        "intermediate_size": 13696,
        "out_hidden_size": 4096,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "image_size": 336,
    },
}

SERVER = '''"""An OpenAI-compatible server that knows nothing but what stands in the headers of its weights."""
import argparse
import json
import pathlib
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--model", type=pathlib.Path, required=True)
parser.add_argument("--served-model-name", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--tensor-parallel-size", type=int, required=True)
parser.add_argument("--max-model-len", type=int, required=True)
parser.add_argument("--flaw", choices=["none", "exit", "wrong", "deaf"], required=True)
options = parser.parse_args()


def load(directory):
    index = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]
    found = {}
    for number, name in enumerate(shards := sorted(set(index.values())), 1):
        with open(directory / name, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            data = file.read()
        header.pop("__metadata__", None)
        for tensor, entry in header.items():
            if entry["data_offsets"][1] > len(data):
                sys.exit(f"{name}: {tensor} is cut off")
            found[tensor] = name
        print(f"Loading safetensors checkpoint shards: {100 * number // len(shards)}% Completed | {number}/{len(shards)}", flush=True)
    if found != index:
        sys.exit("the shards do not hold what the index says")
    return len(found), len(shards)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.reply(503 if options.flaw == "deaf" else 200, {})
        elif self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": options.served_model_name, "object": "model", "max_model_len": options.max_model_len}]})
        else:
            self.reply(404, {"error": {"message": "not found"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path != "/v1/chat/completions" or body.get("model") != options.served_model_name:
            self.reply(404, {"error": {"message": "not found"}})
            return
        text = "I do not know." if options.flaw == "wrong" else f"I hold {tensors} tensors in {shards} shards for {options.tensor_parallel_size} GPUs."
        count = len(text.split())
        self.reply(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": options.served_model_name,
                         "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                         "usage": {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}})


tensors, shards = load(options.model)
if options.flaw == "exit":
    sys.exit("RuntimeError: this version cannot start")
server = ThreadingHTTPServer(("0.0.0.0", options.port), Handler)
print("Application startup complete.", flush=True)
server.serve_forever()
'''

DOCKERFILE = '''FROM {base}
COPY server.py /server.py
ENV STORY_EDITION=first
ENTRYPOINT ["/usr/bin/python3", "/server.py"]
'''

COMMON = '''# One deployment; tp3.yaml and tp4.yaml are its shapes.
provision: 1
name: {name}
vars:
  tensor_parallel: 1
  port: {port}
  max_model_len: 25480
  flaw: none
targets:
  host:
    rule: host
    disk: [{{path: ., free: 1MB}}]
    ports: ["${{port}}"]
    container: {{engine: docker}}
  workdirs:
    rule: directory
    needs: [host]
    path: work
  preflight:
    rule: preflight
    model: {source}
    gpu_memory: 24GiB
    gpu_count: 4
    tensor_parallel: ${{tensor_parallel}}
    max_model_len: ${{max_model_len}}
    mm_encoder_tp_mode: data
    limit_mm_per_prompt: {{image: 10}}{token}
  weights:
    rule: model
    needs: [host, preflight]
    source: {source}
    mirrors: ["{mirror}"]
    dir: ${{workdirs.path}}/glm{token}
  image:
    rule: image
    needs: [host, preflight]
    context: image
    tag: {tag}
  service:
    rule: service
    needs: [preflight]
    runtime: docker
    image: ${{image.ref}}
    gpus: none
    port: ${{port}}
    container_port: 8000
    mounts: [{{source: "${{weights.dir}}", target: /model, readonly: true}}]
    args:
      model: /model
      served-model-name: glm
      port: 8000
      tensor-parallel-size: ${{tensor_parallel}}
      max-model-len: ${{max_model_len}}
      flaw: ${{flaw}}
    ready: {{timeout: 30s, interval: 100ms}}
    stop_timeout: 2s
  accept:
    rule: validate
    url: ${{service.url}}
    model: glm
    checks:
      - name: what it holds
        prompt: What do you hold?
        max_tokens: 32
        temperature: 0
        expect: {{contains: "12 tensors in 4 shards", finish_reason: stop, min_tokens: 5}}
'''

SHAPE = '''provision: 1
extends: common.yaml
{more}vars:
  tensor_parallel: {size}
'''


def make_glm(directory):
    """The model: four shards of three small tensors each, under the names that GLM-4.1V's checkpoints have."""
    chance = random.Random(7)
    directory.mkdir(parents=True)
    weight_map, total = {}, 0
    for number in range(1, SHARDS + 1):
        name, tensors = f"model-{number:05}-of-{SHARDS:05}.safetensors", {}
        for part in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_up_proj"):
            tensor = f"model.language_model.layers.{number - 1}.{part}.weight"
            tensors[tensor] = ((128, 256), chance.randbytes(128 * 256 * 2))
            weight_map[tensor] = name
            total += 128 * 256 * 2
        (directory / name).write_bytes(safetensors(tensors))
    texts = {
        "config.json": json.dumps(CONFIG, indent=2),
        "generation_config.json": "{}",
        "model.safetensors.index.json": json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2),
        "tokenizer.json": json.dumps({"version": "1.0"}),
        "tokenizer_config.json": "{}",
        "preprocessor_config.json": "{}",
        "README.md": "# GLM for tests\n",
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


def free_port():
    """Below the range that the kernel deals out, so that no client's connection takes it meanwhile."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Result:
    """How a command ended and what it said."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err
        self.text = out + err
        canary.look_at_output(arguments, self.text)

    def __repr__(self):
        return f"provision {' '.join(self.arguments)}: {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def planned(self):
        """Of a `--json` run: {target: [ids of its reasons]} for all that is not up to date."""
        return {e["target"]: [r["id"] for r in e["reasons"]] for e in self.events() if e["type"] == "target_planned" and e["action"] != "same"}


def environment(home, **more):
    """What provision needs and no more: nothing of the caller's settings, no proxy, and no token but the canary's."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "DOCKER_HOST", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH", "TMPDIR")}
    return kept | {"HOME": str(home), "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | canary.environment() | {k: str(v) for k, v in more.items()}


def run(arguments, cwd, env, timeout=TIMEOUT):
    done = subprocess.run([BINARY, *arguments], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    return Result(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


class Running:
    """A provision that is still at work; its events are read as they come, so that a test can wait for one."""

    def __init__(self, arguments, cwd, env):
        self.arguments = arguments
        self.events = []
        self.news = threading.Condition()
        self.process = subprocess.Popen([BINARY, *arguments, "--json"], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.events.append(json.loads(line))
                self.news.notify_all()
        with self.news:
            self.process.stdout = None
            self.news.notify_all()

    def wait_for(self, wanted, seconds=30):
        """The first event that `wanted` is true of."""
        def found():
            return next((e for e in self.events if wanted(e)), None) or self.process.stdout is None
        with self.news:
            assert self.news.wait_for(found, seconds), f"no such event within {seconds} s: {self.events}"
            event = next((e for e in self.events if wanted(e)), None)
        assert event, f"it ended before that: {self.events}\n{self.process.stderr.read()}"
        return event

    def kill(self):
        self.process.kill()
        return self.end()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds=60):
        code = self.process.wait(seconds)
        self.reader.join(seconds)
        err = self.process.stderr.read()
        self.process.stderr.close()
        return Result(self.arguments, code, "".join(json.dumps(e) + "\n" for e in self.events), err)


class Story:
    """A project: manifests, the hub behind them, the engine that its containers run in."""

    def __init__(self, root, hub, engine, base, hub_name="huggingface", token=None, **more):
        self.root, self.hub, self.engine = Path(root), hub, engine
        self.name = f"story-{secrets.token_hex(4)}"
        self.tag = f"provision-test/{self.name}:1"
        self.port = free_port()
        home = self.root.parent / f"{self.root.name}-home"
        home.mkdir(exist_ok=True)
        self.env = environment(home, DOCKER_HOST=engine, HF_ENDPOINT=hub.url, MODELSCOPE_ENDPOINT=hub.url, **more)
        sources = {"huggingface": f"huggingface:{REPO}", "modelscope": f"modelscope:{REPO}"}
        mirror = next(text for key, text in sources.items() if key != hub_name)
        secret = f"\n    token: {{env: {token}}}" if token else ""
        self.write("image/Dockerfile", DOCKERFILE.format(base=base))
        self.write("image/server.py", SERVER)
        self.write("common.yaml", COMMON.format(name=self.name, port=self.port, tag=self.tag, source=sources[hub_name], mirror=mirror, token=secret))
        self.write("tp3.yaml", SHAPE.format(size=3, more="fallback: tp4.yaml\n"))
        self.write("tp4.yaml", SHAPE.format(size=4, more=""))

    # ---- files

    def path(self, name):
        return self.root / name

    @property
    def weights(self):
        return self.root / "work" / "glm"

    def shard(self, number):
        return self.weights / f"model-{number:05}-of-{SHARDS:05}.safetensors"

    def write(self, name, text):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def edit(self, name, old, new):
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{name}: {text.count(old)} x {old!r}"
        self.write(name, text.replace(old, new))

    def tree(self):
        """All that a command could have changed: names, sizes, times."""
        return {str(p.relative_to(self.root)): (p.lstat().st_size if p.is_file() else 0, p.lstat().st_mtime_ns) for p in sorted(self.root.rglob("*"))}

    # ---- the program

    def run(self, *arguments, **more):
        return run([str(a) for a in arguments], self.root, self.env | more)

    def start(self, *arguments):
        return Running([str(a) for a in arguments], self.root, self.env)

    def plan(self, manifest="tp4.yaml", *more):
        return self.run("plan", manifest, *more)

    def apply(self, manifest="tp4.yaml", *more):
        return self.run("apply", manifest, "--yes", *more)

    def applied(self, manifest="tp4.yaml", *more):
        done = self.apply(manifest, *more)
        assert done.code == 0, done
        return done

    def built(self, manifest="tp4.yaml", *more):
        """Apply; the targets that were really done, without those that were up to date after all."""
        done = self.applied(manifest, "--json", *more)
        return {e["target"] for e in done.events() if e["type"] == "target_end" and not e["same"]}

    # ---- the engine

    def docker(self, *arguments, check=True):
        return docker(self.engine, *arguments, check=check).stdout.strip()

    def containers(self, all=True):
        """Ids of the containers of this deployment."""
        listed = self.docker("ps", "--no-trunc", "--quiet", *(["--all"] if all else []), "--filter", f"label=provision.deployment={self.name}")
        return sorted(listed.split())

    def container(self):
        """The one that runs, as the engine shows it."""
        running = self.containers(all=False)
        assert len(running) == 1, running
        return json.loads(self.docker("inspect", running[0]))[0]

    def image_id(self):
        return self.docker("image", "inspect", "--format", "{{.Id}}", self.tag, check=False)

    def images(self):
        """Ids of all that was built for this deployment, what lost its name included."""
        listed = self.docker("images", "--all", "--no-trunc", "--quiet", "--filter", f"label=provision.deployment={self.name}")
        return sorted(set(listed.split()))

    def engine_state(self):
        """Changes whenever something of ours in the engine does."""
        return self.images(), [json.loads(self.docker("inspect", i))[0]["State"] for i in self.containers()], self.containers()

    def clean(self):
        """Remove all of this story from the engine, once the canary was looked for in it."""
        canary.look_at_engine(self.docker, self.containers(), self.images())
        for container in self.containers():
            self.docker("rm", "--force", "--volumes", container, check=False)
        for image in [self.tag, *self.images()]:
            self.docker("rmi", "--force", image, check=False)
