"""The official clients fetch from the test hub: so the hub that the other tests rely on speaks as the real ones do. What they fetched we take over, and the
other way round."""

import json
import os
import subprocess
import sys

import pytest
from hubs import digests, hub, make_model, running_hub  # noqa: F401 (fixture)
from project import Project

HF = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/tiny", local_dir=sys.argv[1], revision=sys.argv[2] or None))
"""

MS = """
import sys
from modelscope import snapshot_download
print(snapshot_download("acme/tiny", local_dir=sys.argv[1]))
"""

# What a loader does where nobody can be asked: all files as the client hands them out, and one by name.
HF_OFFLINE = """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
print(snapshot_download("acme/tiny", local_dir=sys.argv[1]))
print(hf_hub_download("acme/tiny", "model-00001-of-00002.safetensors", local_dir=sys.argv[1]))
print(hf_hub_download("acme/tiny", "config.json", local_dir=sys.argv[1]))
"""

MS_OFFLINE = """
import sys
from modelscope import snapshot_download
print(snapshot_download("acme/tiny", local_dir=sys.argv[1], local_files_only=True))
"""

MANIFEST = """
provision: 1
name: taken
targets:
  weights: {{rule: model, source: "{kind}:acme/tiny", endpoint: "{url}", dir: weights}}
"""


def run_client(script, arguments, tmp_path, **environment):
    """In a process of its own, since the clients read their settings when they are imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "MODELSCOPE"))}
    clean |= {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "MODELSCOPE_CACHE": str(tmp_path / "ms"), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], env=clean | environment, capture_output=True, text=True,
                          timeout=120)
    return done


def fetch_hf(hub, target, tmp_path, revision="", **environment):
    return run_client(HF, [target, revision], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                      **environment)


def fetch_ms(hub, target, tmp_path):
    return run_client(MS, [target], tmp_path, MODELSCOPE_ENDPOINT=hub.url, MODELSCOPE_DOMAIN=hub.url.removeprefix("http://"))


@pytest.mark.parametrize("client", [fetch_hf, fetch_ms])
def test_same_bytes(client, hub, tmp_path):  # noqa: F811
    target = tmp_path / "out"
    done = client(hub, target, tmp_path)
    assert done.returncode == 0, done.stderr
    got, wanted = digests(target), digests(hub.root / "acme" / "tiny")
    assert {name: got.get(name) for name in wanted} == wanted
    assert hub.stats()["leaks"] == []


def test_hf_token_stays_with_the_hub(tmp_path):
    root = tmp_path / "hub"
    make_model(root / "acme" / "tiny")
    with running_hub(root, "--token", "hf_canary") as running:
        denied = fetch_hf(running, tmp_path / "denied", tmp_path)
        assert denied.returncode != 0 and "gated" in denied.stderr.lower()
        done = fetch_hf(running, tmp_path / "out", tmp_path, HF_TOKEN="hf_canary")
        assert done.returncode == 0, done.stderr
        assert digests(tmp_path / "out") == digests(root / "acme" / "tiny")
        stats = running.stats()
        assert stats["leaks"] == [] and stats["authorized"] > 0


def test_hf_pages_and_revisions(tmp_path):
    root = tmp_path / "hub"
    make_model(root / "acme" / "tiny", seed=1)
    make_model(root / "acme" / "tiny@v2", seed=2)
    with running_hub(root, "--page-size", "3") as running:
        done = fetch_hf(running, tmp_path / "out", tmp_path, "v2")
        assert done.returncode == 0, done.stderr
        assert digests(tmp_path / "out") == digests(root / "acme" / "tiny@v2")


def test_hf_client_meets_the_faults(hub, tmp_path):  # noqa: F811
    hub.fault("config.json", "404", -1, arg={"code": "EntryNotFound", "message": "Entry not found"})
    hub.fault("tokenizer.json", "503", 1)
    done = fetch_hf(hub, tmp_path / "out", tmp_path)
    assert done.returncode != 0 and "404" in done.stderr


CLIENTS = [("huggingface", fetch_hf), ("modelscope", fetch_ms)]


def served(hub, names):  # noqa: F811
    """Bytes of files that the hub has handed out."""
    return {name: count for name, count in hub.stats()["bytes"].items() if name in names and count}


@pytest.fixture
def taken(hub, tmp_path):  # noqa: F811
    """taken(kind, fetch): a project whose model was fetched by another client; what lies there besides is noted."""
    def make(kind, fetch):
        project = Project(tmp_path / "project")
        done = fetch(hub, project.path("weights"), tmp_path)
        assert done.returncode == 0, done.stderr
        project.write("provision.yaml", MANIFEST.format(kind=kind, url=hub.url))
        hub.reset()
        return project
    return make


def files_below(directory):
    """{relative path: (inode, time, content)}: what must not be touched."""
    return {str(p.relative_to(directory)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
            for p in sorted(directory.rglob("*")) if p.is_file() and ".provision" not in p.parts}


@pytest.mark.parametrize("command", [["adopt"], ["apply", "--yes"]])
@pytest.mark.parametrize("kind,fetch", CLIENTS)
def test_taken_over(kind, fetch, command, taken, hub):  # noqa: F811
    """Not a byte of a file is asked for, and not a file of the other client is touched, its bookkeeping included."""
    project = taken(kind, fetch)
    before, names = files_below(project.path("weights")), digests(hub.root / "acme" / "tiny")
    assert kind != "huggingface" or any(name.startswith(".cache/huggingface/") for name in before)
    project.ok(*command)
    assert served(hub, names) == {} and hub.stats()["leaks"] == []
    assert files_below(project.path("weights")) == before
    project.nothing_to_do()
    recorded = json.loads(project.ok("audit", "show", "weights", "--json").out)
    listed = json.loads(project.path("weights/.provision/files.json").read_text())["files"]
    assert {entry["path"]: entry["sha256"] for entry in listed}.items() <= names.items()
    assert not any(".cache" in json.dumps(entry) for entry in listed) and len(listed) == 10 and recorded
    project.ok("audit", "verify", "--deep")


@pytest.mark.parametrize("kind,fetch", CLIENTS)
def test_broken_is_not_taken_over(kind, fetch, taken, hub):  # noqa: F811
    """What those clients call complete is compared byte by byte; nothing is mended behind the user's back."""
    project = taken(kind, fetch)
    shard, config, template = (project.path("weights") / name for name in ("model-00002-of-00002.safetensors", "config.json", "chat_template.jinja"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    config.unlink()
    template.write_text("{{ messages }} ")
    before = files_below(project.path("weights"))
    done = project.run("adopt")
    assert done.code == 5 and "E0615" in done.err, done
    for words in ("`model-00002-of-00002.safetensors` has other bytes", "`config.json` is missing", "`chat_template.jinja` has 15 bytes, and the source 14",
                  "3 of 10 files", "provision apply weights"):
        assert words in done.err, done
    assert "model-00001" not in done.err and "Adopted 0 targets" in done.out, done
    assert files_below(project.path("weights")) == before and not project.path("weights/.provision").exists()
    assert served(hub, digests(hub.root / "acme" / "tiny")) == {}
    assert project.run("plan", "--detailed-exitcode").code == 2
    # What is missing is fetched by who may fetch; what was right is not fetched again.
    shard.unlink()
    template.unlink()
    project.applied()
    assert served(hub, digests(hub.root / "acme" / "tiny")).keys() == {shard.name, config.name, template.name}


@pytest.mark.parametrize("kind,script,environment", [
    ("huggingface", HF_OFFLINE, {"HF_HUB_OFFLINE": "1"}),
    ("modelscope", MS_OFFLINE, {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}),
])
def test_ours_is_theirs(kind, script, environment, hub, tmp_path):  # noqa: F811
    """A directory that we filled loads in the official client, which asks nobody, and equals file by file what that client would have fetched."""
    project = Project(tmp_path / "project")
    project.write("provision.yaml", MANIFEST.format(kind=kind, url=hub.url))
    project.applied()
    hub.reset()
    done = run_client(script, [project.path("weights")], tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(project.path("weights"))) for line in done.stdout.splitlines() if line.startswith("/")), done.stdout
    assert str(project.path("weights")) in done.stdout, done.stdout
    assert hub.stats()["requests"] == {}
    ours = digests(project.path("weights"))
    fetched = dict(CLIENTS)[kind](hub, tmp_path / "theirs", tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    theirs = digests(tmp_path / "theirs")
    assert ours and ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() <= {".gitattributes", "assets/picture.png"}
    # And neither is disturbed by the other's visit.
    project.nothing_to_do()
    project.ok("audit", "verify", "--deep")
