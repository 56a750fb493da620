"""The official clients fetch from the test hub: so the hub that the other tests rely on speaks as the real ones do."""

import os
import subprocess
import sys

import pytest
from hubs import digests, hub, make_model, running_hub  # noqa: F401 (fixture)

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
