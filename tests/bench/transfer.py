"""Compare a verified download with curl, curl and then sha256sum, and aria2c, whatever of them is installed, in the same run.

transfer.py PROVISION [GIB]     default: 4; prints medians and ratios. nginx serves the file on loopback; runs of the candidates alternate. BENCH_DIR says on which file system;
provision syncs what it writes, which the others do not: where the disk is slow, `curl+sync` is the peer, and a tmpfs takes the disk out of it.
"""
import contextlib
import hashlib
import os
import shutil
import socket
import statistics
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
MANIFEST = """provision: 1
name: bench
targets:
  file: {{rule: download, url: "{url}", path: file.bin, sha256: {sha256}, size: {size}}}
"""


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_file(path, size):
    sha256 = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(size >> 24):
            block = os.urandom(1 << 24)
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


def candidates(provision, url):
    """name -> shell command, run in an empty directory."""
    found = {
        "provision": f"{provision} apply -q --progress none --yes",
        "curl": f"curl -s -o file.bin {url}",
        "curl+sync": f"curl -s -o file.bin {url} && sync file.bin",
        "curl+sha256": f"curl -s -o file.bin {url} && sha256sum file.bin",
    }
    if shutil.which("aria2c"):
        found["aria2c -x8"] = f"aria2c -q -x8 -s8 -o file.bin {url}"
    return found


def run(command, directory, manifest):
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    with open(f"{directory}/provision.yaml", "w") as file:
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
        with nginx(root) as url:
            tools = candidates(provision, url)
            manifest = MANIFEST.format(url=url, sha256=sha256, size=size)
            times = {name: [] for name in tools}
            for turn in range(ROUNDS + 1):
                for name, command in tools.items():
                    seconds = run(command, f"{root}/work", manifest)
                    if turn > 0:
                        times[name].append(seconds)
    print(f"{size / (1 << 30):.1f} GiB from nginx on loopback, {ROUNDS} rounds")
    ours = statistics.median(times["provision"])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"  {name:12} {middle:8.2f} s   ({min(values):.2f} - {max(values):.2f})   provision takes {ours / middle:5.2f} x")


if __name__ == "__main__":
    main()
