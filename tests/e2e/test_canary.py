"""The canary's secret in every place that takes one, and every byte that is written and every program that is started looked at by strace while it is in use."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.parse

import canary
import pytest
from hubs import digests, make_model, running_hub
from project import Project, assert_refused
from story import BINARY, free_port

REPO, SHARD = "acme/tiny", "model-00001-of-00002.safetensors"
SECONDS = 60

# Answers to whoever shows the key; what it is asked for otherwise it refuses with the words that came.
SERVER = """\
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass
    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        if self.path == "/health":
            self.reply(200, {})
        elif self.headers.get("Authorization") != "Bearer " + os.environ["SERVICE_KEY"]:
            self.reply(401, {"error": {"message": "no such key: " + self.headers.get("Authorization", "none")}})
        else:
            self.reply(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""

MANIFEST = """\
provision: 1
name: canary
targets:
  file:
    rule: download
    url: {hub}/plain/{repo}/config.json
    path: out/config.json
    sha256: {sha256}
    token: {{file: {token}}}
  huggingface:
    rule: model
    source: huggingface:{repo}
    dir: out/hf
    token: {{env: HF_TOKEN}}
  modelscope:
    rule: model
    source: modelscope:{repo}
    dir: out/ms
    token: {{env: MODELSCOPE_API_TOKEN}}
  recipe:
    rule: command
    command: [/bin/sh, -c, "env > out/env; echo done"]
    needs: [file]
    outputs: [out/env]
  service:
    rule: service
    needs: [huggingface, modelscope, recipe]
    runtime: process
    command: [python3, server.py, "{{port}}"]
    port: {port}
    env_from: [SERVICE_KEY]
    ready: {{timeout: 30s, interval: 50ms}}
    stop_timeout: 2s
  accept:
    rule: validate
    url: ${{service.url}}
    model: tiny
    api_key: {{env: VLLM_API_KEY}}
    checks: [{{name: models, http: {{path: /health, status: 200}}}}]
"""


@pytest.fixture
def scene(tmp_path):
    """A hub that wants the token of everybody, and a project that shows it in every way there is."""
    make_model(tmp_path / "hub" / REPO, shard_bytes=20_000)
    canary.permit(name="SERVICE_KEY")
    canary.permit(name="HUB_TOKEN")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(canary.SECRET + "\n")
    canary.permit(path=token)
    with running_hub(tmp_path / "hub", "--token-env", "HUB_TOKEN", HUB_TOKEN=canary.SECRET) as hub:
        project = Project(tmp_path / "p", HF_ENDPOINT=hub.url, MODELSCOPE_ENDPOINT=hub.url, SERVICE_KEY=canary.SECRET, PROVISION_RETRY_PAUSE="10ms")
        project.write("server.py", SERVER)
        project.write("provision.yaml", MANIFEST.format(hub=hub.url, repo=REPO, token=token, port=free_port(), sha256=digests(hub.root / REPO)["config.json"]))
        try:
            yield project, hub
        finally:
            project.run("destroy", "--yes")


def look_everywhere(project):
    """All that can be asked of a project; each output is looked at as it comes."""
    for command in (["plan"], ["plan", "--json", "-vv"], ["status"], ["status", "--json"], ["audit"], ["audit", "log"], ["audit", "verify", "--deep"], ["graph"],
                    *(["logs", target] for target in ("file", "huggingface", "modelscope", "recipe", "service", "accept")),
                    *(["audit", "show", target] for target in ("file", "huggingface", "modelscope", "service", "accept")), ["why", "service"]):
        project.run(*command)


def check_trace(path):
    """(programs started, writes seen); no line of either holds the secret where it must not be."""
    started, written = [], 0
    for line in path.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)", line)
        if not call:
            continue
        if call[1] == "execve":
            started.append(call[2][:60])
            # The first is provision itself, which was given the secret.
            told = re.sub(r'"SERVICE_KEY=(?:[^"\\]|\\.)*"', "", call[2]) if len(started) > 1 else ""
        else:
            written += 1
            told = "" if re.match(r"\d+<(socket|TCP|UNIX)", call[2]) else call[2]
        assert not canary.holds(told.encode()), line[:300]
    return started, written


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_nothing_written_and_nothing_started_holds_it(scene, tmp_path):
    project, hub = scene
    trace = tmp_path / "trace"
    canary.permit(path=trace)
    project.env["ASAN_OPTIONS"] = project.env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    words = ["strace", "-f", "-v", "-y", "-s", "1000000", "-A", "-o", trace, "-e", "trace=execve,write,writev,pwrite64,pwritev", BINARY, "apply", "--yes"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    traced, earlier = subprocess.Popen(words, cwd=project.root, env=project.env, **streams), ""
    # strace goes on for as long as the service does. Traced on a busy machine an apply may run into a limit: then the same command goes on.
    until = time.monotonic() + SECONDS
    while project.run("plan", "--detailed-exitcode").code != 0:
        if traced.poll() is not None:
            earlier += traced.communicate()[0]
            traced = subprocess.Popen(words, cwd=project.root, env=project.env, **streams)
        assert time.monotonic() < until, earlier
        time.sleep(0.2)
    assert hub.stats()["authorized"] > 0 and hub.stats()["leaks"] == []
    look_everywhere(project)
    assert "SECRET" not in project.read("out/env") and not canary.holds(project.read("out/env").encode())
    project.ok("destroy", "--yes")
    out, _ = traced.communicate(timeout=SECONDS)
    assert traced.returncode == 0, out
    canary.look(earlier + out, "output of the traced apply")
    started, written = check_trace(trace)
    assert len(started) >= 3 and any("server.py" in line for line in started) and written > 100, started


def test_a_failure_does_not_tell_it(scene):
    """Refused by the hub, by a service and by a check, whose answers repeat what they were sent."""
    project, hub = scene
    hub.fault(SHARD, "403", -1, arg={"message": f"the token {canary.SECRET} may not"}, where="hub")
    assert_refused(project.apply("huggingface"), 77, "E0603")
    hub.reset()
    assert_refused(project.apply(HF_TOKEN="wrong"), 77, "E0603")
    project.edit("provision.yaml", "api_key: {env: VLLM_API_KEY}", "api_key: {env: WRONG_KEY}")
    refused = project.apply(WRONG_KEY=canary.SECRET + "x")
    assert refused.code != 0 and "E0804" in refused.text, refused
    look_everywhere(project)
    project.edit("provision.yaml", "api_key: {env: WRONG_KEY}", "api_key: {env: VLLM_API_KEY}")
    project.applied()
    project.nothing_to_do()


def test_it_is_no_ingredient(scene):
    """Another value makes nothing stale."""
    project, _ = scene
    project.applied()
    before = json.dumps(project.planned())
    project.env |= {"HF_TOKEN": "another", "VLLM_API_KEY": "another", "SERVICE_KEY": "another"}
    assert json.dumps(project.planned()) == before == "{}"


@pytest.mark.parametrize("spell", [
    str, json.dumps, lambda text: json.dumps(json.dumps(text)), lambda text: urllib.parse.quote(text, safe=""), urllib.parse.quote_plus,
    lambda text: base64.b64encode(text.encode()).decode(), lambda text: base64.b64encode(b"user:" + text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(b"ab" + text.encode()).decode(), lambda text: text.encode().hex(), str.upper,
])
def test_the_canary_sees(spell, tmp_path):
    """Else its silence would say nothing."""
    spelt = spell(canary.SECRET)
    (tmp_path / "file").write_bytes(b"\0" * 5000 + spelt.encode() + b"\0" * 5000)
    before = len(canary.found)
    canary.look_at_files(tmp_path)
    assert len(canary.found) == before + 1
    del canary.found[before:]
    (tmp_path / "file").unlink()
    assert canary.look("nothing of the kind", "nowhere")


def test_the_watcher_sees():
    """A command line with the secret, and an environment that provision would have handed on."""
    before = len(canary.found)
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 1; exit 0", canary.SECRET])
    process.wait()
    seen = [where for where in canary.found[before:] if f"command line of {process.pid}" in where]
    del canary.found[before:]
    assert seen
