"""`provision adopt`: what is there already is taken over after every byte was compared; nothing is made, altered or fetched."""

import hashlib
import json
import os
import signal
import time

import pytest
from hubs import digests, hub, make_model  # noqa: F401 (fixture)
from project import Project, assert_events, assert_refused, diagnostics

HEAD = "provision: 1\nname: here\n"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def download(name, content, path):
    return f"  {name}: {{rule: download, url: 'http://127.0.0.1:9/never', path: '{path}', sha256: {sha256(content)}}}\n"


def test_download(project):
    project.write("data/here", b"as it should be")
    project.write("data/other", b"as it should not be")
    project.write("provision.yaml", HEAD + "targets:\n" + download("here", b"as it should be", "data/here") +
                  download("other", b"as it should be", "data/other") + download("gone", b"x", "data/gone"))
    project.path("data/link").symlink_to("here")
    before = project.tree("data")
    done = project.run("adopt")
    assert_refused(done, 5, "E0615", "data/other` has other bytes", "data/gone` is missing", "provision apply gone")
    assert "Adopted 1 target of here, 2 not; nothing was fetched" in done.out, done
    assert project.tree("data") == before
    assert project.planned().keys() == {"other", "gone"}
    assert "Adopted 0 targets of here, 1 recorded before" in project.ok("adopt", "here").out
    project.ok("audit", "verify", "here", "--deep")


def test_link_is_no_file(project):
    project.write("elsewhere", b"bytes")
    project.path("link").symlink_to("elsewhere")
    project.write("provision.yaml", HEAD + "targets:\n" + download("a", b"bytes", "link"))
    assert_refused(project.run("adopt"), 5, "E0615", "is no plain file")


def test_only_what_can_be(project):
    """Of a command nobody can tell whether its output came from its inputs: it is made, not believed."""
    project.write("out", b"looks made")
    project.write("data/file", b"x")
    project.write("provision.yaml", HEAD + "targets:\n  made: {rule: command, command: ['false'], outputs: [out]}\n" + download("file", b"x", "data/file"))
    done = project.run("adopt", "made")
    assert_refused(done, 64, "E0001", "`made` cannot be adopted", "model", "download", "this is a `command`", "provision apply made")
    assert not project.path(".provision").exists()
    # Unnamed, or by a pattern, it is passed over; a name that means nothing is an error.
    assert "Adopted 1 target" in project.ok("adopt", "*").out
    assert project.planned().keys() == {"made"}
    assert_refused(project.run("adopt", "flie"), 64, "E0002", "did you mean `file`")
    project.write("none.yaml", HEAD + "targets:\n  made: {rule: command, command: ['false'], outputs: [out]}\n")
    assert_refused(project.run("adopt", "none.yaml"), 64, "E0001", "nothing here can be adopted")
    assert project.run("adopt", "nowhere.yaml").code == 66


def test_needs(project):
    """A directory that a model stands in is taken over with it, but neither made nor altered; of what was never made, nothing can be known."""
    text = HEAD + "targets:\n  dir: {rule: directory, path: data, mode: '0750'}\n" + download("file", b"x", "${dir.path}/file")
    project.write("provision.yaml", text)
    done = project.run("adopt")
    assert_refused(done, 5, "E0615", "data` is not there")
    assert not project.path("data").exists()
    project.write("data/file", b"x")
    project.path("data").chmod(0o755)
    done = project.run("adopt")
    assert_refused(done, 5, "E0615", "mode is 0755, not 0750")
    assert project.path("data").stat().st_mode & 0o777 == 0o755
    project.path("data").chmod(0o750)
    assert "Adopted 2 targets" in project.ok("adopt", "file").out
    project.nothing_to_do()
    project.write("provision.yaml", text + "  first: {rule: command, command: [touch, f], outputs: [f]}\n" +
                  download("late", b"x", "data/late").replace("}", ", needs: [first]}"))
    project.write("data/late", b"x")
    assert_refused(project.run("adopt", "late"), 5, "E0615", "`late` needs `first`, which was never made", "provision apply first")
    assert not project.path("f").exists()
    project.applied("first")
    project.ok("adopt", "late")
    project.nothing_to_do()


def test_checks_are_not_asked(project):
    """A host that is not fit today does not make the bytes wrong."""
    project.write("data/file", b"x")
    project.write("provision.yaml", HEAD + "targets:\n  host: {rule: host, commands: [surely-no-such-command]}\n" +
                  download("file", b"x", "data/file").replace("}", ", needs: [host]}"))
    assert project.run("plan").code == 4
    project.ok("adopt")
    assert project.planned().keys() <= {"host"}


def test_by_hand(project, hub):  # noqa: F811
    """Copied from wherever: with other files beside, in part, under names that the listing lacks."""
    source, target = hub.root / "acme" / "tiny", project.path("weights")
    make_model(target)
    project.write("weights/notes of mine.txt", "stay")
    project.write("weights/._____temp/model-00001-of-00002.safetensors_0_99", b"half")
    project.write("weights/.msc", b"\x80\x04K\x01.")
    project.write("provision.yaml", HEAD + f"targets:\n  w: {{rule: model, source: 'modelscope:acme/tiny', endpoint: '{hub.url}', dir: weights}}\n")
    names = digests(source)
    done = project.run("adopt", "--json")
    assert done.code == 0, done
    events = assert_events(done)
    assert events[-1]["type"] == "summary" and events[-1]["result"] == "ok" and events[-1]["changed"] == 1, events[-1]
    assert not hub.stats()["bytes"]
    assert digests(target).items() >= {k: v for k, v in names.items()}.items()
    assert project.read("weights/notes of mine.txt") == "stay" and project.path("weights/.msc").exists()
    assert project.path("weights/._____temp/model-00001-of-00002.safetensors_0_99").exists()
    runs = project.ok("audit", "log").out
    assert "adopt" in runs, runs


def test_offline(project, hub):  # noqa: F811
    """Without a network our own list vouches, where there is one."""
    text = HEAD + f"targets:\n  w: {{rule: model, source: 'huggingface:acme/tiny', endpoint: '{hub.url}', dir: weights}}\n"
    project.write("provision.yaml", text)
    make_model(project.path("weights"))
    done = project.run("adopt", "--offline")
    assert_refused(done, 69, "E0614")
    project.ok("adopt")
    other = Project(project.root.parent / "other")
    other.write("provision.yaml", text.replace("dir: weights", f"dir: {project.path('weights')}"))
    hub.reset()
    other.ok("adopt", "--offline")
    assert hub.stats()["requests"] == {}
    project.path("weights/config.json").chmod(0o600)
    project.write("weights/config.json", "{}")
    third = Project(project.root.parent / "third")
    third.write("provision.yaml", other.read("provision.yaml"))
    assert_refused(third.run("adopt", "--offline"), 69, "E0614", "config.json")


def test_json_names_the_files(project, hub):  # noqa: F811
    make_model(project.path("weights"))
    project.path("weights/LICENSE").unlink()
    (project.path("weights/tokenizer.json")).unlink()
    project.path("weights/tokenizer.json").symlink_to("tokenizer_config.json")
    project.write("provision.yaml", HEAD + f"targets:\n  w: {{rule: model, source: 'huggingface:acme/tiny', endpoint: '{hub.url}', dir: weights}}\n")
    done = project.run("adopt", "--json")
    assert done.code == 5
    texts = [d["msg"] for d in diagnostics(done)]
    assert any("`LICENSE` is missing" in t for t in texts) and any("`tokenizer.json` is a symbolic link" in t for t in texts), texts
    assert json.dumps(texts).count("2 of 10 files") >= 1, texts


def test_interrupt(project):
    """Gigabytes in hand, a signal lets go at once; nothing is recorded, nothing is altered."""
    for directory in ("source", "weights"):
        project.write(f"{directory}/config.json", "{}")
        with project.path(f"{directory}/model.safetensors").open("wb") as file:
            os.truncate(file.fileno(), 8 << 30)
    project.write("sums", "0" * 64 + "  model.safetensors\n" + sha256(b"{}") + "  config.json\n")
    project.write("provision.yaml", HEAD + "targets:\n  w: {rule: model, source: ./source, checksums: sums, dir: weights}\n")
    running = project.start("adopt")
    event = running.wait_for(lambda e: e["type"] == "target_progress" and e["done"] > 0)
    assert event["stage"] == "verify" and event["total"] == (8 << 30) + 2 and event["unit"] == "bytes", event
    began = time.monotonic()
    running.interrupt()
    done = running.end()
    assert time.monotonic() - began < 2 and done.code == -signal.SIGINT, done
    assert not any(deployment["records"] for deployment in json.loads(project.ok("audit", "--json").out))
    assert not project.path("weights/.provision").exists()
    for directory in ("source", "weights"):
        project.path(f"{directory}/model.safetensors").unlink()
