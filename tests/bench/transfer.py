"""Compare a verified download with curl, curl and then sha256sum, aria2c and hf download, whatever of them is installed, in the same run.

transfer.py PROVISION [GIB]     default: 4; prints medians and ratios. nginx serves the file on loopback; runs of the candidates alternate. BENCH_DIR says on which file system;
The last pair asks the test hub, which sends both to nginx for the bytes. provision syncs what it writes, which the others do not: where the disk is slow, `curl+sync` is the peer, and a tmpfs takes the disk out of it.
"""
import contextlib
import hashlib
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
NGINX = """worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t; uwsgi_temp_path {root}/t;
scgi_temp_path {root}/t; server {{ listen 127.0.0.1:{port}; root {root}/www; }} }}
"""
FILE = """provision: 1
name: bench
targets:
  file: {{rule: download, url: "{url}", path: file.bin, sha256: {sha256}, size: {size}}}
"""
MODEL = """provision: 1
name: bench
targets:
  model: {rule: model, source: "huggingface:org/big", dir: model}
"""
HUB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fake", "hub.py")


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_file(path, size):
    """A file of weights with one tensor of random bytes."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [size - 128], "data_offsets": [0, size - 128]}}).encode().ljust(120)
    head = struct.pack("<Q", len(header)) + header
    sha256 = hashlib.sha256()
    with open(path, "wb") as file:
        for at in range(0, size, 1 << 24):
            block = os.urandom(1 << 24)
            block = head + block[len(head):] if at == 0 else block
            sha256.update(block)
            file.write(block)
    return sha256.hexdigest()


@contextlib.contextmanager
def nginx(root):
    port = free_port()
    with open(f"{root}/nginx.conf", "w") as conf:
        conf.write(NGINX.format(root=root, port=port))
    server = subprocess.Popen(["nginx", "-c", f"{root}/nginx.conf"])
    try:
        for _ in range(100):
            with contextlib.closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/file.bin"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def hub(root, sha256, url):
    """The test hub with one repository, whose large file nginx has."""
    os.makedirs(f"{root}/hub/org/big")
    os.makedirs(f"{root}/www/object")
    with open(f"{root}/hub/org/big/config.json", "w") as file:
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, file)
    os.link(f"{root}/www/file.bin", f"{root}/hub/org/big/model.safetensors")
    os.link(f"{root}/www/file.bin", f"{root}/www/object/{sha256}")
    server = subprocess.Popen([sys.executable, HUB, f"{root}/hub", "--cdn-url", url.rpartition("/")[0]], stdout=subprocess.PIPE)
    try:
        yield json.loads(server.stdout.readline())["hub"]
    finally:
        server.terminate()
        server.wait()


def candidates(provision, url, hub_url):
    """name -> (shell command, run in an empty directory with one of the manifests; which of ours it is measured by)."""
    apply = f"{provision} apply -q --progress none --yes"
    hf = os.path.join(os.path.dirname(sys.executable), "hf")
    found = {
        "provision": (f"{apply} file.yaml", "provision"),
        "curl": (f"curl -s -o file.bin {url}", "provision"),
        "curl+sync": (f"curl -s -o file.bin {url} && sync file.bin", "provision"),
        "curl+sha256": (f"curl -s -o file.bin {url} && sha256sum file.bin", "provision"),
    }
    if shutil.which("aria2c"):
        found["aria2c -x8"] = (f"aria2c -q -x8 -s8 -o file.bin {url}", "provision")
    if os.access(hf, os.X_OK):
        found["provision hub"] = (f"HF_ENDPOINT={hub_url} {apply} model.yaml", "provision hub")
        found["hf download"] = (f"HF_ENDPOINT={hub_url} HF_HUB_DISABLE_XET=1 HF_HOME=$PWD/home {hf} download org/big --local-dir model", "provision hub")
    return found


def run(command, directory, file_manifest):
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    for name, manifest in {"file.yaml": file_manifest, "model.yaml": MODEL}.items():
        with open(f"{directory}/{name}", "w") as file:
            file.write(manifest)
    os.sync()
    start = time.perf_counter()
    subprocess.run(command, shell=True, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    provision = os.path.abspath(sys.argv[1])
    size = int(float(sys.argv[2] if len(sys.argv) > 2 else "4") * (1 << 30)) >> 24 << 24
    with tempfile.TemporaryDirectory(prefix="provision-bench-", dir=os.environ.get("BENCH_DIR")) as root:
        os.mkdir(f"{root}/www")
        os.chmod(root, 0o755)
        sha256 = make_file(f"{root}/www/file.bin", size)
        with nginx(root) as url, hub(root, sha256, url) as hub_url:
            tools = candidates(provision, url, hub_url)
            manifest = FILE.format(url=url, sha256=sha256, size=size)
            times = {name: [] for name in tools}
            for turn in range(ROUNDS + 1):
                for name, (command, _) in tools.items():
                    seconds = run(command, f"{root}/work", manifest)
                    if turn > 0:
                        times[name].append(seconds)
    print(f"{size / (1 << 30):.1f} GiB from nginx on loopback, {ROUNDS} rounds")
    for name, values in times.items():
        middle, ours = statistics.median(values), tools[name][1]
        print(f"  {name:13} {middle:8.2f} s   ({min(values):.2f} - {max(values):.2f})   {ours} takes {statistics.median(times[ours]) / middle:5.2f} x")


if __name__ == "__main__":
    main()
