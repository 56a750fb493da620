"""What runs inside a container image, with a real engine: a `command`, the preflight's question to the image's transformers, the host's self-test.

Each leaves nothing in the engine: not when it ends, fails, is stopped, takes too long, nor, after the next apply, when provision was killed.
"""

import json
import os
import secrets
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from engine import docker, socket_path
from project import Project
from story import BINARY, CONFIG, Running

STRANGER = 12345  # a user and a group that no image knows


class Inside(Project):
    """A project whose targets run in containers, with images of its own."""

    def __init__(self, root, host, base):
        super().__init__(root, DOCKER_HOST=host)
        self.host, self.base = host, base
        self.name = f"inside-{secrets.token_hex(4)}"
        self.tags = []
        self.ids = []

    def manifest(self, targets):
        self.write("provision.yaml", f"provision: 1\nname: {self.name}\ntargets:\n{textwrap.indent(textwrap.dedent(targets), '  ')}")

    def docker(self, *arguments, check=True):
        return docker(self.host, *arguments, check=check).stdout.strip()

    def image(self, dockerfile, tag=None, **files):
        """Build an image on the base; its name."""
        tag = tag or f"provision-test/{self.name}:{len(self.tags)}"
        directory = self.root.parent / f"image-{secrets.token_hex(4)}"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
        (directory / "Dockerfile").write_text(f"FROM {self.base}\n{dockerfile}\n")
        self.docker("build", "--quiet", "--tag", tag, directory)
        self.tags.append(tag)
        self.ids.append(self.image_id(tag))
        return tag

    def image_id(self, name):
        return self.docker("image", "inspect", "--format", "{{.Id}}", name)

    def containers(self):
        return self.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=provision.deployment={self.name}").split()

    def created(self, since):
        """Containers of this deployment that were created since then, whether they are there or not."""
        until = str(int(time.time()) + 1)
        said = self.docker("events", "--since", since, "--until", until, "--filter", "event=create", "--filter",
                           f"label=provision.deployment={self.name}", "--format", "{{.ID}}")
        return said.split()

    def log(self, target):
        return self.ok("logs", target).out

    def wait_for(self, name, seconds=30):
        until = time.monotonic() + seconds
        while not self.path(name).exists():
            assert time.monotonic() < until, f"`{name}` is not made"
            time.sleep(0.05)

    def clean(self):
        for container in self.containers():
            self.docker("rm", "--force", container, check=False)
        for image in self.tags + self.ids:
            self.docker("image", "rm", "--force", image, check=False)


@pytest.fixture
def inside(tmp_path, engine, base_image):
    project = Inside(tmp_path / "p", engine, base_image)
    yield project
    project.clean()


def refused(done, code, *words):
    assert f"[{code}]" in done.text, done
    for word in words:
        assert word in done.text, done


# ------------------------------------------------------------------ command

TELL = """\
import json, os, sys
out = sys.argv[1]
with open(out, "w") as file:
    json.dump({"argv": sys.argv[1:], "cwd": os.getcwd(), "uid": os.getuid(), "gid": os.getgid(), "env": dict(os.environ), "in": open("in.txt").read(),
               "container": os.path.exists("/.dockerenv"), "caps": [l for l in open("/proc/self/status") if l.startswith("CapEff")][0].split()[1]}, file)
print("to stdout", flush=True)
print("to stderr", file=sys.stderr)
"""


def tell(inside, image, **more):
    """A command that writes down where it finds itself."""
    inside.write("tell.py", TELL)
    inside.write("in.txt", "hello\n")
    extra = "".join(f"  {key}: {value}\n" for key, value in more.items())
    inside.manifest(f"tell:\n  rule: command\n  image: {image}\n  command: [python3, tell.py, out/told.json, 'a  b', '$HOME', '*.py', '']\n"
                    f"  inputs: [tell.py, in.txt]\n  outputs: [out/told.json]\n{extra}")


def test_a_command_runs_in_its_image(inside):
    # An entry point that would swallow the command if it were left in place.
    image = inside.image('ENV EDITION=first\nENTRYPOINT ["/bin/false"]')
    tell(inside, image, env="{NAME: value}")
    since = str(int(time.time()))
    plan = inside.ok("plan")
    assert f"in image {image}" in plan.out and not inside.created(since), plan
    inside.applied()
    told = json.loads(inside.read("out/told.json"))
    assert told["argv"] == ["out/told.json", "a  b", "$HOME", "*.py", ""], told
    assert told["container"] and told["cwd"] == str(inside.root) and told["in"] == "hello\n" and int(told["caps"], 16) == 0
    assert told["env"]["EDITION"] == "first" and told["env"]["NAME"] == "value" and told["env"]["PROVISION_TARGET"] == "tell"
    assert told["env"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "DOCKER_HOST" not in told["env"], "nothing of the host's environment belongs there"
    assert (told["uid"], told["gid"]) == (os.getuid(), os.getgid())
    log = inside.log("tell")
    assert "to stdout" in log and "to stderr" in log and image in log
    assert len(inside.created(since)) == 1 and not inside.containers()
    inside.nothing_to_do()
    inside.edit("in.txt", "hello", "world")
    inside.applied()
    assert json.loads(inside.read("out/told.json"))["in"] == "world\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_it_makes_belongs_to_the_user(inside):
    tell(inside, inside.base)
    for directory in (inside.root, inside.home):
        os.chown(directory, STRANGER, STRANGER)
    for parent in inside.root.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    # The engine's directory is private to who started it; its socket is for its group.
    os.chmod(os.path.dirname(socket_path(inside.host)), 0o711)
    group = os.stat(socket_path(inside.host)).st_gid
    done = subprocess.run([BINARY, "apply", "--yes"], cwd=inside.root, env=inside.env, capture_output=True, text=True, timeout=60, user=STRANGER, group=STRANGER,
                          extra_groups=[group])
    assert done.returncode == 0, done
    made = inside.path("out/told.json").stat()
    told = json.loads(inside.read("out/told.json"))
    assert (made.st_uid, made.st_gid) == (STRANGER, STRANGER) == (told["uid"], told["gid"]) and told["env"]["HOME"] == "/tmp"


def test_another_image_under_the_same_name_makes_it_stale(inside):
    image = inside.image("ENV EDITION=first")
    tell(inside, image)
    inside.applied()
    inside.nothing_to_do()
    first = inside.image_id(image)
    inside.image("ENV EDITION=second", tag=image)
    plan = inside.ok("plan")
    assert first[7:15] in plan.text and "tell" in plan.out, plan
    assert set(inside.planned()["tell"]) == {"upstream_moved"}
    assert inside.ended() == {"tell": "ok"}
    assert json.loads(inside.read("out/told.json"))["env"]["EDITION"] == "second"
    # One that was tidied away changes nothing of what it made.
    inside.docker("image", "rm", "--force", image)
    inside.nothing_to_do()


@pytest.mark.parametrize("output", ["id", "ref"])
def test_an_image_target_comes_first(inside, output):
    tag = f"provision-test/{inside.name}:made"
    inside.tags.append(tag)
    inside.write("image/Dockerfile", f"FROM {inside.base}\nENV EDITION=first\n")
    inside.manifest(f"""\
        image: {{rule: image, context: image, tag: '{tag}'}}
        word: {{rule: command, image: '${{image.{output}}}', shell: true, command: 'echo $EDITION >word', outputs: [word]}}
        """)
    since = str(int(time.time()))
    inside.ok("plan")
    assert not inside.created(since)
    assert inside.ended() == {"image": "ok", "word": "ok"} and inside.read("word") == "first\n"
    inside.nothing_to_do()
    inside.edit("image/Dockerfile", "first", "second")
    assert set(inside.planned()) == {"image", "word"}
    assert inside.ended() == {"image": "ok", "word": "ok"} and inside.read("word") == "second\n"
    inside.nothing_to_do()


def test_an_image_that_is_not_there(inside):
    tell(inside, "provision-test/nowhere:1")
    done = inside.apply()
    assert done.code != 0
    refused(done, "E0703", "the engine has no image `provision-test/nowhere:1`", "provision.yaml:6:")
    assert not inside.path("out/told.json").exists() and not inside.containers()


@pytest.mark.parametrize("command, words", [
    ("[sh, -c, 'echo so it is >&2; exit 7']", ["ended with status 7"]),
    ("[no-such-program]", ["ended with status 127", "is the program in the image"]),
])
def test_a_command_that_fails(inside, command, words):
    inside.manifest(f"bad: {{rule: command, image: '{inside.base}', command: {command}, outputs: [out]}}")
    done = inside.apply()
    assert done.code == 1
    refused(done, "E0807", *words)
    assert not inside.containers()


def test_what_it_sees_of_the_host(inside, tmp_path):
    """The project and what is named, at the same paths; inputs from elsewhere cannot be written to; nothing else is there."""
    elsewhere, aside, hidden = tmp_path / "elsewhere", tmp_path / "aside", tmp_path / "hidden"
    for directory in (elsewhere, aside, hidden):
        directory.mkdir()
        (directory / "file").write_text(f"{directory.name}\n")
    script = (f"cat {elsewhere}/file {aside}/file >{tmp_path}/made/out && ls {hidden} && exit 3; echo x 2>&1 >{elsewhere}/file && exit 4; "
              f"echo x 2>&1 >{elsewhere}/new && exit 5; cat {aside}/other && exit 6; echo here >beside; true")
    (aside / "other").write_text("not named\n")
    inside.path("sub").mkdir()
    inside.manifest(f"""\
        look:
          rule: command
          image: {inside.base}
          shell: true
          command: {json.dumps(script)}
          workdir: sub
          inputs: ['{elsewhere}/*', {aside}/file]
          outputs: [{tmp_path}/made/out, sub/beside]
        """)
    inside.applied()
    assert (tmp_path / "made/out").read_text() == "elsewhere\naside\n" and inside.read("sub/beside") == "here\n"
    assert (elsewhere / "file").read_text() == "elsewhere\n" and not (elsewhere / "new").exists()
    inside.nothing_to_do()
    (aside / "file").write_text("changed\n")
    assert set(inside.planned()["look"]) == {"input_changed"}


def test_a_depfile_names_files_of_host_and_image(inside):
    """Headers of the image are covered by its id; those of the project are inputs."""
    image = inside.image("COPY part.h /usr/include/part.h", **{"part.h": "of the image\n"})
    inside.write("a.c", "source\n")
    inside.write("a.h", "header\n")
    script = "cat a.c a.h /usr/include/part.h >a.o; echo 'a.o: a.c a.h /usr/include/part.h' >a.d"
    inside.manifest(f"""\
        compile: {{rule: command, image: '{image}', shell: true, command: {json.dumps(script)}, inputs: [a.c], outputs: [a.o], depfile: a.d}}
        """)
    inside.applied()
    assert inside.read("a.o") == "source\nheader\nof the image\n"
    inside.nothing_to_do()
    inside.write("a.h", "changed\n")
    assert set(inside.planned()["compile"]) == {"input_changed"}


SLOW = "echo on >up; sleep 60"


def slow(inside, **more):
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    inside.manifest(f"slow: {{rule: command, image: '{inside.base}', shell: true, command: '{SLOW}', outputs: [up]{extra}}}")


def test_a_command_that_takes_too_long(inside):
    slow(inside, timeout="2s")
    before = time.monotonic()
    done = inside.apply()
    refused(done, "E0808", "took longer than 2")
    assert time.monotonic() - before < 20 and inside.path("up").exists() and not inside.containers()


def test_a_command_that_is_stopped(inside):
    slow(inside)
    running = inside.start("apply", "--yes")
    inside.wait_for("up")
    before = time.monotonic()
    running.interrupt()
    done = running.end()
    assert done.code == -signal.SIGINT and time.monotonic() - before < 15, done
    assert not inside.containers()


def kill_at(inside, ready):
    """SIGKILL to provision while its container runs."""
    running = inside.start("apply", "--yes")
    ready()
    running.kill()
    left = inside.containers()
    assert len(left) == 1
    return left


def test_a_killed_run_leaves_nothing_after_the_next(inside):
    slow(inside)
    left = kill_at(inside, lambda: inside.wait_for("up"))
    labels = json.loads(inside.docker("inspect", "--format", "{{json .Config.Labels}}", left[0]))
    assert labels["provision.target"] == "slow" and labels["provision.role"] == "command" and labels["provision.run"] and labels["provision.project"]
    stranger = inside.docker("run", "--detach", "--label", f"provision.deployment={inside.name}", inside.base, "sleep", "60")
    inside.edit("provision.yaml", SLOW, "echo done >up")
    inside.applied()
    assert inside.read("up") == "done\n" and inside.containers() == [stranger]
    inside.nothing_to_do()


def test_a_killed_run_leaves_nothing_where_nothing_is_to_do(inside):
    """The target is as recorded again, so that no build of it clears up."""
    inside.manifest(f"word: {{rule: command, image: '{inside.base}', shell: true, command: 'cat in >out', inputs: [in], outputs: [out]}}")
    inside.write("in", "first\n")
    inside.applied()
    good = inside.read("provision.yaml")
    inside.edit("provision.yaml", "cat in >out", SLOW)
    kill_at(inside, lambda: inside.wait_for("up"))
    inside.write("provision.yaml", good)
    inside.applied()
    assert not inside.containers() and inside.read("out") == "first\n"
    inside.nothing_to_do()


def test_a_killed_run_leaves_nothing_of_a_target_that_is_gone(inside):
    slow(inside)
    kill_at(inside, lambda: inside.wait_for("up"))
    inside.manifest("other: {rule: directory, path: other}")
    inside.applied()
    assert not inside.containers()


@pytest.mark.parametrize("after", [n * 0.06 for n in range(1, 13)])
def test_killed_at_any_moment(inside, after):
    """Before the intent, between intent and creation, creation and start, while it runs, while it is removed."""
    inside.manifest(f"word: {{rule: command, image: '{inside.base}', shell: true, command: 'sleep 0.1; echo x >word', outputs: [word]}}")
    running = inside.start("apply", "--yes")
    time.sleep(after)
    running.kill()
    # What the engine was asked for at the last moment is done by then.
    time.sleep(0.5)
    inside.applied()
    assert not inside.containers() and inside.read("word") == "x\n"
    inside.nothing_to_do()


# ------------------------------------------------------------------ preflight.in_image

# Reads config.json as the library does: one class for each type, with its own defaults and names; in a place where there is nothing else to reach.
TRANSFORMERS = '''\
import json, os, sys
__version__ = "4.57.1"
if sorted(os.listdir("/sys/class/net")) != ["lo"]:
    raise ImportError("there is a network")
class Config:
    def __init__(self, values):
        self.__dict__.update({"num_key_value_heads": values.get("num_attention_heads")} | values)
    def get_text_config(self):
        return Config(self.text_config) if hasattr(self, "text_config") else self
class AutoConfig:
    @staticmethod
    def from_pretrained(path, trust_remote_code, local_files_only):
        assert trust_remote_code is False and local_files_only is True and os.environ["HF_HUB_OFFLINE"] == "1"
        assert os.listdir(path) == ["config.json"]
        for place in (path, "/usr"):
            try:
                open(place + "/new", "w")
            except OSError:
                continue
            raise RuntimeError(place + " can be written to")
        values = json.load(open(path + "/config.json"))
        if values.get("auto_map"):
            raise ValueError("The repository contains custom code which must be executed to correctly load the model.")
        if values["model_type"] not in ("glm4v", "llama"):
            raise ValueError("The checkpoint you are trying to load has model type `%s` but Transformers does not recognize this architecture." % values["model_type"])
        return CHANGE(Config(values))
CHANGE = lambda config: config
'''


def transformers(inside, change=""):
    """An image with a stand-in for the library; the real one is asked by test_the_real_library."""
    return inside.image("RUN mkdir -p /python/transformers\nCOPY library /python/transformers/__init__.py\nENV PYTHONPATH=/python", library=TRANSFORMERS + change)


def preflight(inside, image, config=None, **more):
    inside.write("model/config.json", json.dumps(config or CONFIG))
    extra = "".join(f"\n          {key}: {value}" for key, value in more.items())
    inside.manifest(f"""\
        fits:
          rule: preflight
          model: model
          gpu_memory: 80GiB
          gpu_count: 4
          tensor_parallel: 4
          max_model_len: 8192
          in_image: {image}{extra}
        """)


def test_the_image_agrees(inside):
    image = transformers(inside)
    preflight(inside, image)
    since = str(int(time.time()))
    inside.ok("plan")
    assert not inside.created(since)
    done = inside.applied()
    assert len(inside.created(since)) == 1 and not inside.containers(), done
    assert "W0410" not in done.text and "E0409" not in done.text, done
    assert not list((inside.root / ".provision" / "runtime").glob("provision-*"))
    inside.nothing_to_do()
    inside.image("ENV OTHER=1", tag=image)
    assert set(inside.planned()["fits"]) == {"upstream_moved"}


def test_the_image_reads_other_numbers(inside):
    image = transformers(inside, "def CHANGE(config):\n    config.text_config.update(num_attention_heads=48, vocab_size=7)\n    return config\n")
    preflight(inside, image)
    done = inside.apply()
    assert done.code == 3, done
    refused(done, "E0409", "transformers 4.57.1", "attention heads: 32, the image says 48", "vocabulary: 151552, the image says 7")
    assert "layers:" not in done.text and not inside.containers()


def test_the_image_does_not_know_the_type(inside):
    image = transformers(inside)
    preflight(inside, image, CONFIG | {"model_type": "glm9v"})
    done = inside.apply()
    assert done.code == 3, done
    refused(done, "E0409", "does not know models of type `glm9v`")
    # One that its vLLM reads by itself is no matter of transformers.
    both = inside.root.parent / "both"
    both.mkdir()
    (both / "init").write_text("raise ImportError('no GPU')\n")
    (both / "config").write_text("_CONFIG_REGISTRY = LazyConfigDict(\n    glm9v=\"Glm9vConfig\",\n)\n")
    (both / "Dockerfile").write_text(f"FROM {image}\nRUN mkdir -p /python/vllm/transformers_utils\nCOPY init /python/vllm/__init__.py\n"
                                     "COPY config /python/vllm/transformers_utils/config.py\n")
    vllm = f"provision-test/{inside.name}:vllm"
    inside.docker("build", "--quiet", "--tag", vllm, both)
    inside.tags.append(vllm)
    preflight(inside, vllm, CONFIG | {"model_type": "glm9v"})
    done = inside.applied()
    refused(done, "W0410", "does not recognize this architecture")


@pytest.mark.parametrize("kind, words", [
    ("bare", "it has no transformers that could be asked"),
    ("broken", "ImportError: libtorch is missing"),
    ("code", "custom code which must be executed"),
    ("crash", "its python3 ended with status 9: going down"),
])
def test_an_image_that_cannot_be_asked(inside, kind, words):
    images = {
        "bare": lambda: inside.base,
        "broken": lambda: transformers(inside, "raise ImportError('libtorch is missing')\n"),
        "code": lambda: transformers(inside),
        "crash": lambda: transformers(inside, "print('going down', file=sys.stderr, flush=True)\nos._exit(9)\n"),
    }
    preflight(inside, images[kind](), CONFIG | ({"auto_map": {"AutoConfig": "x.C"}} if kind == "code" else {}))
    done = inside.applied()
    refused(done, "W0410", words)
    assert not inside.containers()


def test_an_image_without_python(inside):
    image = inside.image("RUN echo no more >/gone\nENV PATH=/nowhere")
    preflight(inside, image)
    refused(inside.applied(), "W0410", "it has no python3")
    assert not inside.containers()


def test_what_config_refutes_asks_no_image(inside):
    preflight(inside, "provision-test/nowhere:1", CONFIG | {"text_config": CONFIG["text_config"] | {"num_attention_heads": 30}})
    since = str(int(time.time()))
    done = inside.apply()
    assert done.code == 3 and "E0401" in done.text and "E0703" not in done.text, done
    assert not inside.created(since)


def test_a_preflight_whose_image_is_not_there(inside):
    preflight(inside, "provision-test/nowhere:1")
    inside.ok("plan")
    refused(inside.apply(), "E0703", "the engine has no image `provision-test/nowhere:1`")


def test_a_killed_question_leaves_nothing_after_the_next_apply(inside):
    image = transformers(inside, "import time\ntime.sleep(60)\n")
    preflight(inside, image)
    kill_at(inside, lambda: wait_until(inside.containers))
    shared = inside.root / ".provision" / "runtime"
    assert list(shared.glob("provision-*"))
    preflight(inside, transformers(inside))
    inside.applied()
    assert not inside.containers() and not list(shared.glob("provision-*"))


def wait_until(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.05)


# ------------------------------------------------------------------ host.container.self_test


def has_gpus():
    return Path("/proc/driver/nvidia/version").exists()


@pytest.mark.skipif(has_gpus(), reason="for a host without GPUs")
def test_the_self_test_names_the_cause(inside):
    inside.manifest(f"check: {{rule: host, container: {{engine: docker, self_test: '{inside.base}'}}}}")
    since = str(int(time.time()))
    inside.ok("plan")
    assert not inside.created(since)
    done = inside.apply()
    assert done.code == 4, done
    refused(done, "E0512", "the NVIDIA Container Toolkit is not installed", "could not select device driver", "host driver: ", "install the NVIDIA driver first", "give the administrator",
            "nvidia-ctk runtime configure")
    assert not inside.containers()


def test_a_self_test_without_its_image(inside):
    inside.manifest("check: {rule: host, container: {self_test: 'provision-test/nowhere:1'}}")
    refused(inside.apply(), "E0703", "the engine has no image `provision-test/nowhere:1`")
