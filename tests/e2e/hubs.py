"""The test hub as a pytest fixture, and small model repositories for it."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import time
import urllib.request

import pytest

HUB = pathlib.Path(__file__).resolve().parent.parent / "fake" / "hub.py"
START_SECONDS = 30


class RunningHub:
    """A hub process: its URLs, its root, and its control endpoints."""

    def __init__(self, root, process, urls):
        self.root, self.process = root, process
        self.url, self.cdn = urls["hub"], urls["cdn"]

    def _call(self, path, value=None):
        body = None if value is None else json.dumps(value).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body), timeout=10) as answer:
            return json.load(answer)

    def stats(self):
        return self._call("/__stats")

    def reset(self):
        self._call("/__reset", {})

    def fault(self, path, behaviour, times=1, **more):
        self._call("/__fault", {"path": path, "behaviour": behaviour, "times": times, **more})


def safetensors(tensors):
    """A safetensors file: {name: (shape, bytes of BF16)}."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, content) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def make_model(directory, shards=2, shard_bytes=200_000, seed=1, heads=32):
    """A small repository of the shape that servers load: config, tokenizer, an index, shards; and files that nobody needs."""
    chance = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for n in range(1, shards + 1):
        name, tensor = f"model-{n:05}-of-{shards:05}.safetensors", f"model.layers.{n - 1}.weight"
        count = shard_bytes // 2
        (directory / name).write_bytes(safetensors({tensor: ((count,), chance.randbytes(count * 2))}))
        weight_map[tensor] = name
    index = {"metadata": {"total_size": shards * (shard_bytes // 2) * 2}, "weight_map": weight_map}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "num_attention_heads": heads,
              "num_key_value_heads": 2, "hidden_size": heads * 8, "intermediate_size": 512, "num_hidden_layers": shards, "vocab_size": 1024,
              "max_position_embeddings": 2048}
    for name, content in {
        "config.json": json.dumps(config, indent=2),
        "generation_config.json": "{}",
        "model.safetensors.index.json": json.dumps(index, indent=2),
        "tokenizer.json": json.dumps({"version": "1.0", "seed": seed}),
        "tokenizer_config.json": "{}",
        "chat_template.jinja": "{{ messages }}",
        "README.md": "# A model for tests\n",
        "LICENSE": "MIT\n",
        ".gitattributes": "*.safetensors filter=lfs\n",
        "assets/picture.png": "not needed by a server",
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return directory


def digests(directory):
    """{relative path: SHA-256} of all files below, but for what clients keep for themselves."""
    own = {".cache", ".provision", "._____temp", ".msc", ".mdl", ".mv", ".git"}
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not own & set(path.relative_to(directory).parts)
    }


@contextlib.contextmanager
def running_hub(root, *options, **env):
    ready = root.parent / f"{root.name}.ready"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, str(HUB), str(root), "--ready", str(ready), *options], env=os.environ | env)
    try:
        until = time.monotonic() + START_SECONDS
        while not ready.exists():
            assert process.poll() is None, "the test hub ended at once"
            assert time.monotonic() < until, "the test hub does not start"
            time.sleep(0.02)
        yield RunningHub(root, process, json.loads(ready.read_text()))
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def hub(tmp_path):
    """A hub with one repository, `acme/tiny`."""
    root = tmp_path / "hub"
    make_model(root / "acme" / "tiny")
    with running_hub(root) as running:
        yield running
