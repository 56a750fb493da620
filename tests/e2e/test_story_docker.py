"""From an empty host to an accepted service and through all that happens to it there, with a real container engine and the test hub.

The tests of one story share its project; each begins by making it as it should be, which costs nothing where it is so already.
"""

import os
import socket
import threading
import urllib.request

import pytest
from conftest import glm_hub, told
from hubs import digests
from story import BINARY, SHARDS

CANARY = "hf_canaryCanaryCanary0123456789abcd"
PLAN_LIMIT = 100_000  # bytes that a plan may fetch
INDEX = "model.safetensors.index.json"


@pytest.fixture
def story(shared_story):
    """As it should be: tp4 is applied, nothing is pending, and the hub counts from zero."""
    shared_story.applied()
    shared_story.hub.reset()
    return shared_story


def flip(path, at=-1):
    """One byte changes; size, mode and mtime stay."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(content)
    os.chmod(path, stat.st_mode & 0o7777)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def fetched(story):
    """Files whose bytes the hub sent, without the index: with the listing it says which files there are."""
    return {name for name, size in story.hub.stats()["bytes"].items() if size} - {INDEX}


def assert_whole(story):
    wanted = digests(story.hub.root / "acme" / "glm")
    got = digests(story.weights)
    assert got == {name: wanted[name] for name in got} and set(wanted) - set(got) <= {"README.md", ".gitattributes"}
    assert sum(name.endswith(".safetensors") for name in got) == SHARDS


def health(story):
    with urllib.request.urlopen(f"http://127.0.0.1:{story.port}/health", timeout=5) as answer:
        return answer.status


def assert_serves(story):
    """Exactly one container, with our labels, that answers."""
    container = story.container()
    assert story.containers() == [container["Id"]]
    labels = container["Config"]["Labels"]
    assert labels["provision.deployment"] == story.name and labels["provision.target"] == "service"
    assert labels["provision.run"] and labels["provision.key"] and labels["provision.project"]
    assert container["Image"] == story.image_id()
    assert health(story) == 200
    return container


def nothing_to_do(story):
    plan = story.plan("tp4.yaml", "--detailed-exitcode")
    assert plan.code == 0 and "Nothing to do" in plan.out, plan


# ------------------------------------------------------------------ the first time


@pytest.fixture(scope="module", params=["huggingface", "modelscope"])
def fresh(request, tmp_path_factory, engine, base_image):
    """A story of which nothing was applied, with a hub of its own."""
    with glm_hub(tmp_path_factory.mktemp("hubs") / "hub") as hub:
        with told(tmp_path_factory.mktemp("fresh") / "project", hub, engine, base_image, hub_name=request.param) as story:
            yield story


def test_01_plan_refutes_three_cards_for_kilobytes(fresh):
    before, engine = fresh.tree(), fresh.engine_state()
    fresh.hub.reset()
    plan = fresh.plan("tp3.yaml")
    assert plan.code == 0, plan
    assert "32 attention heads do not divide by 3" in plan.out and "E0401" in plan.out
    assert "sizes that divide this model and fit 4 GPUs: 1 (tight), 2, 4" in plan.out
    assert "tp3.yaml:4:" in plan.out or "tp3.yaml:5:" in plan.out
    # What a step of the Dockerfile may fetch is not known, what the weights weigh is.
    size = sum(p.stat().st_size for p in (fresh.hub.root / "acme" / "glm").iterdir() if p.name != "README.md")
    assert f"download at least {size / 1000:.0f} kB" in plan.out and "Fallback 1  tp4.yaml   feasible" in plan.out, plan
    served = fresh.hub.stats()
    assert 0 < served["total"] < PLAN_LIMIT, served
    assert fresh.tree() == before and fresh.engine_state() == engine


def test_01_exit_codes_of_an_infeasible_plan(fresh):
    alone = fresh.plan("tp3.yaml", "--no-fallback")
    assert alone.code == 3 and "E0401" in alone.text, alone
    assert fresh.plan("tp3.yaml", "--detailed-exitcode").code == 6
    assert fresh.plan("tp4.yaml", "--detailed-exitcode").code == 2
    refused = fresh.apply("tp3.yaml", "--no-fallback")
    assert refused.code == 3 and not fresh.weights.exists() and not fresh.containers(), refused


def test_02_apply_goes_on_with_the_fallback(fresh):
    fresh.hub.reset()
    done = fresh.apply("tp3.yaml")
    assert done.code == 0, done
    assert "fallback 1 of 1: tp4.yaml, because: infeasible" in done.err
    assert f"Serving {fresh.name} at http://127.0.0.1:{fresh.port}/v1" in done.out
    container = assert_serves(fresh)
    assert "4" == container["Args"][container["Args"].index("--tensor-parallel-size") + 1]
    assert_whole(fresh)
    assert fresh.hub.stats()["leaks"] == []
    verified = fresh.run("audit", "verify", "--deep")
    assert verified.code == 0, verified


def test_03_second_apply_changes_nothing(fresh):
    before = fresh.engine_state()
    fresh.hub.reset()
    done = fresh.apply("tp4.yaml", "--detailed-exitcode")
    assert done.code == 0 and "Nothing to do: 7 targets up to date" in done.out, done
    assert "0 by hash" in done.out
    assert fresh.hub.stats()["total"] == 0 and fresh.hub.stats()["requests"] == {}
    assert fresh.engine_state() == before


def test_04_tp3_again_costs_nothing(fresh):
    before = fresh.engine_state()
    fresh.hub.reset()
    done = fresh.apply("tp3.yaml", "--detailed-exitcode")
    assert done.code == 6 and "32 attention heads do not divide by 3" in done.out and "Nothing to do" in done.out, done
    # The refuted shape is asked again, of config.json alone.
    assert fetched(fresh) <= {"config.json"}
    assert fresh.engine_state() == before


# ------------------------------------------------------------------ what is edited


def test_05_touched_files_are_not_stale(story):
    before = story.engine_state()
    for path in [story.path("image/Dockerfile"), story.path("image/server.py"), story.path("common.yaml"), *story.weights.glob("*")]:
        if path.is_file():
            path.touch()
    nothing_to_do(story)
    done = story.applied()
    assert "Nothing to do" in done.out
    assert story.hub.stats()["total"] == 0 and story.engine_state() == before


def test_06_dockerfile_edit(story):
    old = assert_serves(story)
    story.edit("image/Dockerfile", "STORY_EDITION=first", "STORY_EDITION=second")
    planned = story.plan("tp4.yaml", "--json").planned()
    assert set(planned) == {"image", "service", "accept"} and set(planned["image"]) == {"input_changed"}, planned
    shown = story.plan("tp4.yaml")
    assert "input changed: image/Dockerfile" in shown.out and "line 3: ENV STORY_EDITION=first -> ENV STORY_EDITION=second" in shown.out, shown
    assert story.built() == {"image", "service", "accept"}
    new = assert_serves(story)
    assert new["Id"] != old["Id"] and new["Image"] != old["Image"]
    assert story.hub.stats()["total"] == 0
    nothing_to_do(story)


def test_06_comment_in_the_dockerfile_stops_at_the_image(story):
    before = assert_serves(story)
    story.edit("image/Dockerfile", "COPY server.py", "# Only a comment.\nCOPY server.py")
    assert set(story.plan("tp4.yaml", "--json").planned()) == {"image", "service", "accept"}
    done = story.applied()
    assert "service: up to date after all" in done.err and "accept: up to date after all" in done.err, done
    assert assert_serves(story)["Id"] == before["Id"]
    nothing_to_do(story)


def test_07_flag_edit_restarts_the_service_alone(story):
    old, image = assert_serves(story), story.image_id()
    story.edit("common.yaml", "      max-model-len: ${max_model_len}", "      max-model-len: 16384")
    planned = story.plan("tp4.yaml", "--json").planned()
    assert set(planned) == {"service", "accept"}, planned
    shown = story.plan("tp4.yaml")
    assert "max-model-len" in shown.out and "16384" in shown.out, shown
    story.applied()
    new = assert_serves(story)
    assert new["Id"] != old["Id"] and story.image_id() == image and "16384" in new["Args"]
    assert story.hub.stats()["total"] == 0


def test_07_a_restart_wants_consent(story):
    old = assert_serves(story)
    refused = story.run("apply", "tp4.yaml", "--replace", "service")
    assert refused.code == 7 and "--yes" in refused.text, refused
    assert assert_serves(story)["Id"] == old["Id"]


# ------------------------------------------------------------------ what happens to the world


def test_08_flipped_byte(story):
    old = assert_serves(story)
    flip(story.shard(2))
    found = story.run("audit", "verify", "--deep")
    assert found.code == 5 and story.shard(2).name in found.out and "recorded sha256" in found.out, found
    plan = story.plan("tp4.yaml")
    assert story.shard(2).name in plan.out and "output differs" in plan.out, plan
    # The server may have read what was wrong: it is started anew.
    assert story.built() == {"weights", "service", "accept"}
    assert fetched(story) == {story.shard(2).name}
    assert_whole(story)
    assert assert_serves(story)["Id"] != old["Id"]
    assert story.run("audit", "verify", "--deep").code == 0
    nothing_to_do(story)


def test_09_truncated_and_missing_files(story):
    story.shard(1).chmod(0o644)
    os.truncate(story.shard(1), 1000)
    story.shard(4).unlink()
    found = story.run("audit", "verify")
    assert found.code == 5 and story.shard(1).name in found.out and story.shard(4).name in found.out, found
    story.applied()
    assert fetched(story) == {story.shard(1).name, story.shard(4).name}
    assert_whole(story)
    nothing_to_do(story)


def kill(story):
    story.docker("kill", story.container()["Id"])
    return "exited (137)"


def remove(story):
    story.docker("rm", "--force", story.container()["Id"])
    return "container removed"


def replace(story):
    old = story.container()
    story.docker("rm", "--force", old["Id"])
    labels = [f"--label={k}={v}" for k, v in old["Config"]["Labels"].items() if k != "provision.key"]
    story.docker("run", "--detach", "--init", "--name", old["Name"].lstrip("/"), *labels, "--entrypoint", "/bin/sleep", story.tag, "600")
    return "container removed"


@pytest.mark.parametrize("harm", [kill, remove, replace])
def test_10_container(story, harm):
    old = assert_serves(story)["Id"]
    words = harm(story)
    plan = story.plan("tp4.yaml")
    assert words in plan.out and "container gone" in plan.out, plan
    planned = story.plan("tp4.yaml", "--json").planned()
    assert set(planned) == {"service", "accept"} and planned["service"] == ["container_gone"], planned
    verified = story.run("audit", "verify")
    assert verified.code == 5 and words in verified.out, verified
    assert story.run("status").code == 5
    story.applied()
    assert assert_serves(story)["Id"] != old
    assert story.hub.stats()["total"] == 0
    nothing_to_do(story)


def test_10_image_deleted(story):
    container = assert_serves(story)["Id"]
    story.docker("rm", "--force", container)
    story.docker("rmi", "--force", story.tag)
    assert not story.image_id()
    plan = story.plan("tp4.yaml")
    assert "image deleted" in plan.out, plan
    verified = story.run("audit", "verify")
    assert verified.code == 5 and "image deleted" in verified.out, verified
    story.applied()
    assert_serves(story)
    nothing_to_do(story)


def test_10_tag_moved(story):
    before = story.image_id()
    story.docker("tag", "provision-test/base:1", story.tag)
    plan = story.plan("tp4.yaml")
    assert "points to another image" in plan.out, plan
    assert story.run("audit", "verify", "image").code == 5
    story.applied()
    assert story.image_id() == before
    assert_serves(story)
    nothing_to_do(story)


# ------------------------------------------------------------------ new versions that are no good


@pytest.mark.parametrize("flaw, words", [("exit", "RuntimeError: this version cannot start"), ("wrong", "12 tensors in 4 shards")])
def test_11_old_service_comes_back(story, flaw, words):
    old = assert_serves(story)["Id"]
    done = story.apply("tp4.yaml", "--set", f"flaw={flaw}")
    assert done.code == 1 and words in done.text, done
    assert ("E0803" if flaw == "exit" else "E0804") in done.text, done
    assert assert_serves(story)["Id"] == old
    nothing_to_do(story)


def test_11_service_that_is_never_ready(story):
    old = assert_serves(story)["Id"]
    story.edit("common.yaml", "timeout: 30s", "timeout: 3s")
    done = story.apply("tp4.yaml", "--set", "flaw=deaf")
    assert done.code == 1 and "E0802" in done.text and "answered 503" in done.text, done
    assert assert_serves(story)["Id"] == old
    story.edit("common.yaml", "timeout: 3s", "timeout: 30s")
    nothing_to_do(story)


def test_11_log_of_the_failure_is_kept(story):
    story.apply("tp4.yaml", "--set", "flaw=exit")
    log = story.run("logs", "service")
    assert log.code == 0 and "this version cannot start" in log.out, log


# ------------------------------------------------------------------ the end


def test_12_destroy(story):
    assert_serves(story)
    refused = story.run("destroy", "tp4.yaml")
    assert refused.code == 7, refused
    gone = story.run("destroy", "tp4.yaml", "--yes")
    assert gone.code == 0, gone
    assert story.containers() == [] and story.image_id()
    assert_whole(story)
    removed = story.run("destroy", "tp4.yaml", "weights", "--yes")
    assert removed.code == 0, removed
    assert not any(story.weights.rglob("*.safetensors"))
    removed = story.run("destroy", "tp4.yaml", "image", "--yes")
    assert removed.code == 0 and not story.image_id(), removed
    story.applied()
    assert_serves(story)


def test_13_port_held_by_another(story):
    assert story.run("destroy", "tp4.yaml", "service", "accept", "--yes").code == 0
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", story.port))
        other.listen()
        done = story.apply()
        assert done.code == 4 and ("E0508" in done.text or "E0805" in done.text), done
        assert f"pid {os.getpid()}" in done.text and str(story.port) in done.text, done
        assert story.containers() == []
    story.applied()
    assert_serves(story)


# ------------------------------------------------------------------ secrets


class Watcher:
    """While provision runs, samples what comes and goes: the command lines of all processes but the hub, which is told the token, and the
    files below .provision that a run removes at its end."""

    def __init__(self, story):
        self.hub, self.root = story.hub.process.pid, story.path(".provision")

    def __enter__(self):
        self.seen, self.passing, self.stop = set(), {}, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.02):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if int(pid) == self.hub:
                    continue
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        self.seen.add(file.read())
                except OSError:
                    continue
            for name in ("cache.db-wal", "lock"):
                try:
                    self.passing[name] = self.passing.get(name, b"") + (self.root / name).read_bytes()
                except OSError:
                    continue

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_14_a_token_stays_secret(tmp_path, engine, base_image):
    with glm_hub(tmp_path / "hub", "--token", CANARY) as hub, told(tmp_path / "project", hub, engine, base_image, token="HF_TOKEN") as story:
        denied = story.plan("tp4.yaml")
        assert denied.code in (0, 77) and ("E0603" in denied.text or "HF_TOKEN" in denied.text), denied
        with Watcher(story) as watcher:
            done = story.run("apply", "tp3.yaml", "--yes", HF_TOKEN=CANARY)
        assert done.code == 0, done
        assert hub.stats()["authorized"] > 0 and hub.stats()["leaks"] == []
        assert any(BINARY.encode() in line for line in watcher.seen)
        shown = [done, story.run("audit"), story.run("audit", "show", "weights"), story.run("logs", "weights"), story.run("status")]
        places = {repr(result.arguments): result.text.encode() for result in shown}
        places |= {"inspect": story.docker("inspect", *story.containers()).encode(), "argv": b"\0".join(watcher.seen)}
        places |= {str(path): path.read_bytes() for path in story.root.rglob("*") if path.is_file()}
        places |= watcher.passing
        assert watcher.passing.get("cache.db-wal") and any(name.endswith("cache.db") for name in places) and any("/logs/" in name for name in places)
        assert [name for name, content in places.items() if CANARY.encode() in content] == []


def test_14_a_secret_of_the_service(story):
    """What `env_from` hands over is seen by the container, and by nobody else."""
    story.edit("common.yaml", "    gpus: none", "    gpus: none\n    env_from: [STORY_KEY]")
    try:
        missing = story.apply()
        assert missing.code != 0 and "STORY_KEY" in missing.text, missing
        done = story.run("apply", "tp4.yaml", "--yes", STORY_KEY=CANARY)
        assert done.code == 0 and CANARY not in done.text, done
        assert f"STORY_KEY={CANARY}" in story.container()["Config"]["Env"]
        assert [p for p in story.root.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()] == []
    finally:
        story.edit("common.yaml", "\n    env_from: [STORY_KEY]", "")
