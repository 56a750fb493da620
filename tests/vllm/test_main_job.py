"""The main job with vLLM itself: a small GLM-4.1V, provisioned, accepted, asked, swapped to another shape and back; and what provision makes of vLLM's own refusals."""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import glm  # noqa: E402
from project import BINARY, Project, assert_refused, processes  # noqa: E402
from story import free_port  # noqa: E402

openai = pytest.importorskip("openai")
VLLM = Path(sys.executable).parent / "vllm"
START = 1800  # seconds: two starts of vLLM with two ranks on a busy machine of two cores; one takes half a minute on an idle one


class Job(Project):
    def __init__(self, root, **text):
        super().__init__(root)
        self.copy(HERE / "main_job")
        glm.make(self.path("repository"), **text)
        glm.picture(self.path("picture.png"))
        self.port = free_port()

    def settings(self):
        return ["--set", f"vllm={VLLM}", "--set", f"port={self.port}"]

    def shape(self, manifest, *options):
        return self.run("apply", "--yes", "--json", manifest, *self.settings(), *options, timeout=START)

    def ended(self, manifest, *options):
        done = self.shape(manifest, *options)
        return done, {e["target"]: "same" if e["same"] else e["result"] for e in done.events() if e["type"] == "target_end"}

    def client(self):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="EMPTY", timeout=300, max_retries=0)

    def served(self):
        """What the server that runs says of itself: its longest request, and the tensor parallel size on its command line."""
        (model,) = self.client().models.list().data
        commands = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes("--tensor-parallel-size")}
        sizes = {int(command.split(b"--tensor-parallel-size\0")[1].split(b"\0")[0]) for command in commands if str(self.port).encode() in command}
        return model.id, model.max_model_len, sizes

    def log(self):
        return self.ok("logs", "service").out

    def clean(self):
        self.run("destroy", "--yes", "tp1.yaml", *self.settings(), timeout=120)
        assert processes(str(self.path("work"))) == []


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("vllm") / "job")
    try:
        yield job
    finally:
        job.clean()


@pytest.fixture
def running(job):
    done = job.shape("tp1.yaml")
    assert done.code == 0, done
    return job


def answer(job, content, tokens=12):
    said = job.client().chat.completions.create(model="glm-small", messages=[{"role": "user", "content": content}], max_tokens=tokens, temperature=0,
                                                extra_body={"ignore_eos": True})
    return said.choices[0].message.content, said.usage.prompt_tokens, said.usage.completion_tokens


def test_provisioned_and_accepted(job):
    done, ended = job.ended("tp1.yaml")
    assert done.code == 0 and ended == dict.fromkeys(["host", "work", "preflight", "weights", "service", "accept"], "ok"), (done, ended)
    assert job.served() == ("glm-small", 4096, {1})
    assert "Nothing to do" in job.ok("plan", "tp1.yaml", *job.settings()).out
    verified = job.ok("audit", "verify", "--deep")
    assert "chain intact" in verified.out, verified


def test_asked_by_the_official_client(running):
    text, prompt, tokens = answer(running, "Who are you?")
    assert tokens == 12 and (text, prompt, tokens) == answer(running, "Who are you?")
    picture = "data:image/png;base64," + base64.b64encode(running.path("picture.png").read_bytes()).decode()
    _, with_picture, _ = answer(running, [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "Who are you?"}])
    assert with_picture > prompt + 10
    with pytest.raises(openai.BadRequestError):
        answer(running, "a" * 9000)
    with pytest.raises(openai.NotFoundError):
        running.client().chat.completions.create(model="another", messages=[{"role": "user", "content": "Hi"}])


def test_swapped_and_back(running):
    before = answer(running, "Who are you?")
    done, ended = running.ended("tp2.yaml")
    assert done.code == 0 and ended["service"] != "same" and ended.get("weights", "same") == "same", (done, ended)
    assert running.served() == ("glm-small", 2048, {2})
    assert answer(running, "Who are you?")[1:] == before[1:]
    done, ended = running.ended("tp1.yaml")
    assert done.code == 0 and ended["service"] != "same" and ended.get("weights", "same") == "same", (done, ended)
    assert running.served() == ("glm-small", 4096, {1}) and answer(running, "Who are you?") == before


def test_preflight_refuses_tp3_and_the_fallback_stands(running):
    refused = running.shape("tp3.yaml", "--no-fallback")
    assert_refused(refused, 3, "E0401", "8 attention heads do not divide by 3")
    assert running.served() == ("glm-small", 4096, {1})
    assert running.shape("tp3.yaml").code == 0 and running.served() == ("glm-small", 4096, {1})


def test_forced_tp3_ends_in_the_error_that_the_diagnosis_knows(running):
    """vLLM itself refuses; provision names the cause, and the instance that ran before runs again."""
    before = answer(running, "Who are you?")
    done = running.shape("forced.yaml", "--no-fallback")
    text = "8 attention heads do not divide by tensor parallel size 3"
    assert done.code != 0 and text in done.text, done
    assert running.served() == ("glm-small", 4096, {1}) and answer(running, "Who are you?") == before


def refusal_of(directory, tensor, **env):
    """The log of a vLLM that is asked for a shape by hand, and what `provision diagnose` makes of it."""
    settings = dict(os.environ, HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1",
                    VLLM_HOST_IP="127.0.0.1", **env)
    log = subprocess.run([VLLM, "serve", directory, "--host", "127.0.0.1", "--port", str(free_port()), "--max-model-len", "2048", "--enforce-eager",
                          "--tensor-parallel-size", str(tensor), "--limit-mm-per-prompt", '{"image":1,"video":0}'],
                         env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=START).stdout
    told = subprocess.run([BINARY, "diagnose", "-", "--json"], input=log, capture_output=True, timeout=60)
    return log.decode(errors="replace"), json.loads(told.stdout)


@pytest.mark.parametrize("text, tensor, row", [
    ({}, 3, "F01"),
    # Twelve heads divide by 3; four KV heads do not, and only a worker sees it.
    ({"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 768}, 3, "F02"),
])
def test_logs_of_real_refusals_are_understood(tmp_path, text, tensor, row):
    glm.make(tmp_path / "model", **text)
    log, told = refusal_of(tmp_path / "model", tensor)
    assert told["id"] == row, (told, log[-6000:])


def number(pattern, log):
    return float(re.search(pattern, log)[1].replace(",", ""))


def test_forecast_of_the_cache(running):
    """Bytes for each token as forecast against the size that vLLM logs for its one GiB; printed for the record."""
    log = running.log()
    tokens = number(r"KV cache size: ([\d,]+) tokens", log)
    concurrency = number(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x", log)
    answer = running.ok("shapes", "work/glm", "--json", "--gpu-count", 1, "--gpu-memory", "24GiB", "--max-model-len", 4096)
    (shape,) = json.loads(answer.out)["shapes"]
    print(f"\nKV cache of 1 GiB: vLLM {tokens:.0f} tokens, {concurrency} requests of 4096; "
          f"provision {2**30 / shape['kv_per_token']:.0f} tokens, {2**30 / shape['kv_per_token'] / 4096:.2f} requests")
    assert tokens == pytest.approx(2**30 / shape["kv_per_token"], rel=0.01)
    assert concurrency == pytest.approx(2**30 / shape["kv_per_token"] / 4096, rel=0.01)
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/version", timeout=5) as version:
        assert json.load(version)["version"].startswith("0.12.0")
