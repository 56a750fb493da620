"""Hubs and plain web servers over a longer time: mirrors, tokens, moved branches, what other clients fetched, runs that were killed. What a single answer can do wrong is in fire/faults.py."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from hubs import digests, make_model, running_hub
from project import Project, assert_refused
from story import free_port

REPO = "acme/tiny"
CONFIG, SHARD = "config.json", "model-00001-of-00002.safetensors"
TOKEN = "hf_canarycanarycanarycanarycanary12"
NGINX = "/usr/sbin/nginx"
MANIFEST = """\
provision: 1
name: hub
targets:
  weights:
    rule: model
    source: {source}
    dir: out
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    root = tmp_path_factory.mktemp("hubs") / "hub"
    make_model(root / REPO)
    with running_hub(root) as running:
        yield running


@pytest.fixture
def hub(shared):
    shared.reset()
    return shared


def new_project(tmp_path, hub, source, more="", **env):
    project = Project(tmp_path / "p", HF_ENDPOINT=hub.url, MODELSCOPE_ENDPOINT=hub.url, **env)
    project.write("provision.yaml", MANIFEST.format(source=source.format(hub=hub.url)) + more)
    return project


SOURCES = {"huggingface": f"huggingface:{REPO}", "modelscope": f"modelscope:{REPO}", "plain": "\"{hub}/plain/" + REPO + "\""}


def final(project):
    """{name: SHA-256} of what stands under final names; what is unfinished lies in directories of its own, or under names that no server loads."""
    return {name: digest for name, digest in digests(project.path("out")).items() if not Path(name).name.startswith(".provision")}


def assert_sound(project, hub, whole):
    """What is there is right, all of it is if it should be, and nothing lies outside."""
    wanted, found = digests(hub.root / REPO), final(project)
    for name, digest in found.items():
        assert wanted.get(name) == digest, name
    if whole:
        needed = {name for name in wanted if name not in ("assets/picture.png", "README.md", "LICENSE", ".gitattributes")}
        assert needed <= found.keys(), needed - found.keys()
    assert {p.name for p in project.root.iterdir()} <= {"provision.yaml", "out", ".provision"}
    assert {p.name for p in project.root.parent.iterdir()} <= {"p", "p-home"}
    assert hub.stats()["leaks"] == []


def test_symlink_in_the_way(tmp_path, hub):
    """Links in the target directory are not followed to the outside, by a file's name or by a directory's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("precious")
    hub_root = tmp_path / "other"
    make_model(hub_root / "acme" / "deep")
    (hub_root / "acme" / "deep" / "sub").mkdir()
    (hub_root / "acme" / "deep" / "sub" / "extra.json").write_text("{}")
    with running_hub(hub_root) as deep:
        project = Project(tmp_path / "p", HF_ENDPOINT=deep.url)
        project.write("provision.yaml", MANIFEST.format(source="huggingface:acme/deep") + "    include: [\"*.json\", \"*.safetensors\"]\n")
        project.path("out").mkdir()
        project.path("out/config.json").symlink_to(outside / "victim")
        project.path("out/sub").symlink_to(outside)
        done = project.apply()
        assert (outside / "victim").read_text() == "precious" and sorted(os.listdir(outside)) == ["victim"], done
        assert done.code == 73 and ("config.json" in done.text or "sub" in done.text) and "E0999" not in done.text, done


@pytest.mark.parametrize("kind, variable", [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")])
def test_token_goes_to_the_hub_alone(tmp_path, kind, variable):
    """The CDN port notes every Authorization and Cookie that it sees."""
    make_model(tmp_path / "h" / "hub" / REPO)
    with running_hub(tmp_path / "h" / "hub", "--token", TOKEN) as hub:
        (tmp_path / "w").mkdir()
        project = new_project(tmp_path / "w", hub, SOURCES[kind], f"    token: {{env: {variable}}}\n")
        assert_refused(project.apply(**{variable: "wrong"}), 77, "E0603", REPO)
        done = project.applied(**{variable: TOKEN})
        assert hub.stats()["authorized"] > 0
        assert_sound(project, hub, True)
        places = [done.text.encode(), project.run("audit", "show", "weights").out.encode(), project.run("logs", "weights").out.encode()]
        places += [path.read_bytes() for path in project.root.rglob("*") if path.is_file()]
        assert not any(TOKEN.encode() in content for content in places)


def test_wrong_bytes_are_fetched_again_from_a_mirror(tmp_path, hub):
    project = new_project(tmp_path, hub, SOURCES["huggingface"], f"    mirrors: [{SOURCES['modelscope']}]\n")
    hub.fault(SHARD, "wrong_byte", -1, arg=5000, where="cdn")
    done = project.applied(timeout=120)
    assert_sound(project, hub, True)
    assert project.ok("audit", "verify", "--deep"), done


def test_changed_upstream_is_not_followed_unasked(tmp_path):
    make_model(tmp_path / "h" / "hub" / REPO)
    with running_hub(tmp_path / "h" / "hub") as hub:
        (tmp_path / "w").mkdir()
        project = new_project(tmp_path / "w", hub, SOURCES["huggingface"])
        project.applied()
        before = final(project)
        (hub.root / REPO / CONFIG).write_text("{\"num_attention_heads\": 64}")
        project.nothing_to_do()
        assert final(project) == before
        moved = project.ok("plan", "--refresh")
        assert "upstream moved" in moved.out, moved
        project.applied("--refresh")
        assert_sound(project, hub, True)


def test_offline(tmp_path, hub):
    project = new_project(tmp_path, hub, SOURCES["huggingface"])
    assert_refused(project.apply("--offline"), 69, "E0614")
    assert hub.stats()["requests"] == {}
    project.applied()
    hub.reset()
    done = project.ok("plan", "--offline")
    assert "Nothing to do" in done.out and hub.stats()["requests"] == {}


def test_a_second_plan_asks_nobody(tmp_path, hub):
    project = new_project(tmp_path, hub, SOURCES["huggingface"])
    project.applied()
    hub.reset()
    project.nothing_to_do()
    assert hub.stats()["requests"] == {}


def fetch_with_the_official_client(hub, target, home):
    script = "import sys; from huggingface_hub import snapshot_download; snapshot_download('acme/tiny', local_dir=sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, timeout=120,
                          env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1",
                               "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"})
    assert done.returncode == 0, done.stderr


def test_directory_of_the_official_client(tmp_path, hub):
    """What it fetched is verified where it lies, and not fetched again; one file that is damaged is."""
    pytest.importorskip("huggingface_hub")
    project = new_project(tmp_path, hub, SOURCES["huggingface"])
    fetch_with_the_official_client(hub, project.path("out"), project.home)
    with open(project.path("out") / SHARD, "r+b") as file:
        file.seek(1000)
        file.write(b"damaged")
    hub.reset()
    done = project.apply()
    if done.code:
        # Somebody's file with other bytes is not replaced without a word.
        assert_refused(done, 73, "E0612", SHARD)
        project.path(f"out/{SHARD}").unlink()
        project.applied()
    # The plan reads the index, to know what belongs together; of the weights it is one shard.
    assert set(hub.stats()["bytes"]) - {"model.safetensors.index.json"} == {SHARD}, hub.stats()
    assert_sound(project, hub, True)


# ------------------------------------------------------------------ a plain web server


@contextlib.contextmanager
def nginx(directory, root, limit_rate="0"):
    """A web server over `root`; yields its URL and the path of its log: status, range, bytes sent, path."""
    port, directory = free_port(), Path(directory)
    directory.mkdir()
    (directory / "nginx.conf").write_text(f"""\
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
  log_format told '$status "$http_range" $body_bytes_sent $uri';
  access_log {directory}/access.log told;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  gzip on; gzip_types *;
  server {{ listen 127.0.0.1:{port}; root {root}; location / {{ limit_rate {limit_rate}; autoindex on; }} }}
}}
""")
    server = subprocess.Popen([NGINX, "-c", str(directory / "nginx.conf"), "-p", str(directory)], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, server.stderr.read()
        yield f"http://127.0.0.1:{port}", directory / "access.log"
    finally:
        server.terminate()
        server.wait(timeout=10)
        server.stderr.close()


needs_nginx = pytest.mark.skipif(not os.path.exists(NGINX), reason="nginx is not installed")
LARGE = 12 << 20


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with a list of checksums, one file of it large."""
    root = tmp_path_factory.mktemp("site")
    make_model(root / "model", shards=1, shard_bytes=LARGE)
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests(root / "model").items())
    (root / "model" / "SHA256SUMS").write_text(sums)
    return root


def resumed_after_kill(project, log, name):
    """Apply, killed once bytes have arrived; then apply again. Bytes that the server sent of the file in all."""
    running = project.start("apply", "--yes")
    running.wait_for(lambda e: e["type"] == "target_progress" and e.get("done", 0) > 3 << 20)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    assert not project.path(f"out/{name}").exists()
    project.applied(timeout=120)
    rows = [row.split() for row in log.read_text().splitlines() if row.endswith(name)]
    return sum(int(row[-2]) for row in rows), [row[1] for row in rows]


@needs_nginx
def test_plain_directory(tmp_path, site):
    with nginx(tmp_path / "n", site) as (url, log):
        project = Project(tmp_path / "p")
        project.write("provision.yaml", MANIFEST.format(source=f"{url}/model"))
        project.applied()
        wanted = digests(site / "model")
        found = final(project)
        assert found and all(wanted[name] == digest for name, digest in found.items()) and "model-00001-of-00001.safetensors" in found
        log.write_text("")
        project.nothing_to_do()
        assert log.read_text() == ""
        assert project.ok("audit", "verify", "--deep")


@needs_nginx
def test_plain_directory_resumes_after_kill(tmp_path, site):
    name = "model-00001-of-00001.safetensors"
    with nginx(tmp_path / "n", site, limit_rate="4m") as (url, log):
        project = Project(tmp_path / "p")
        project.write("provision.yaml", MANIFEST.format(source=f"{url}/model"))
        sent, ranges = resumed_after_kill(project, log, name)
        assert hashlib.sha256(project.path(f"out/{name}").read_bytes()).hexdigest() == digests(site / "model")[name]
        size = (site / "model" / name).stat().st_size
        assert sent < size * 1.6, (sent, size, ranges)


@needs_nginx
def test_download_resumes_after_kill(tmp_path, site):
    name = "model-00001-of-00001.safetensors"
    source = site / "model" / name
    with nginx(tmp_path / "n", site, limit_rate="4m") as (url, log):
        project = Project(tmp_path / "p")
        project.write("provision.yaml", f"provision: 1\nname: d\ntargets:\n  file:\n    rule: download\n    url: {url}/model/{name}\n    path: out/{name}\n"
                      f"    sha256: {digests(site / 'model')[name]}\n    size: {source.stat().st_size}B\n")
        sent, ranges = resumed_after_kill(project, log, name)
        assert project.path(f"out/{name}").read_bytes() == source.read_bytes()
        assert sent < source.stat().st_size * 1.6, (sent, ranges)
        project.nothing_to_do()


@needs_nginx
@pytest.mark.parametrize("change, status, code", [
    (lambda text: text.replace("sha256: ", "sha256: " + "0" * 8, 1)[: text.index("sha256: ") + 72] + "\n", 1, "E0606"),
    (lambda text: text.replace("config.json\n", "no-such-file.json\n", 1), 66, "E0602"),
], ids=["wrong_digest", "not_there"])
def test_download_refused(tmp_path, site, change, status, code):
    digest = digests(site / "model")[CONFIG]
    with nginx(tmp_path / "n", site) as (url, _):
        project = Project(tmp_path / "p")
        text = f"provision: 1\nname: d\ntargets:\n  file:\n    rule: download\n    url: {url}/model/{CONFIG}\n    path: out/c.json\n    sha256: {digest}\n"
        project.write("provision.yaml", change(text))
        assert_refused(project.apply(timeout=90), status, code, url)
        assert not project.path("out/c.json").exists()


@needs_nginx
def test_download_by_its_mirror(tmp_path, site):
    digest = digests(site / "model")[CONFIG]
    with nginx(tmp_path / "n", site) as (url, _):
        project = Project(tmp_path / "p")
        project.write("provision.yaml", f"provision: 1\nname: d\ntargets:\n  file:\n    rule: download\n    urls: [\"{url}/nowhere\", \"{url}/model/{CONFIG}\"]\n"
                      f"    path: out/c.json\n    sha256: {digest}\n")
        project.applied(timeout=90)
        assert hashlib.sha256(project.path("out/c.json").read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("text", [
    "not a list of checksums\n",
    "0" * 63 + "  config.json\n",
    "0" * 64 + "  ../config.json\n",
    "0" * 64 + "  config.json\n" + "1" * 64 + "  config.json\n",
], ids=["prose", "short", "climbs", "twice"])
def test_bad_checksum_list(tmp_path, hub, text):
    project = new_project(tmp_path, hub, SOURCES["huggingface"], "    checksums: SUMS\n")
    project.write("SUMS", text)
    assert_refused(project.apply(), 65, "E0303", "SUMS")
    assert final(project) == {}
