"""Which files of a repository come: what a server needs and no byte more, said before it begins; odd names, empty files, and very many of them."""

import json
import os
import subprocess
import time

import pytest
from hubs import digests, make_model, running_hub, safetensors
from project import Project, assert_refused, is_sanitized
from story import BINARY

HEAD = "provision: 1\nname: choice\n"
DUPLICATES = ("consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "original/consolidated.00.pth", "original/params.json", "model.gguf",
              "onnx/model.onnx", "onnx/config.json", "tf_model.h5", "flax_model.msgpack", "pytorch_model.bin", "pytorch_model.bin.index.json",
              "model-00009-of-00009.safetensors", "metal/model.bin", "openvino/openvino_model.xml", "training_args.bin", "optimizer.pt", "modeling_tiny.py",
              "runs/events.out.tfevents.1", "figures/plot.png", ".gitignore")
SOURCES = ("huggingface", "modelscope")


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def manifest(project, hub, kind="huggingface", **parameters):
    parameters = {"source": f"{kind}:acme/tiny", "endpoint": hub.url, "dir": "weights"} | parameters
    project.write("provision.yaml", HEAD + f"targets:\n  w: {json.dumps({'rule': 'model'} | parameters)}\n")


def served(hub):
    """Bytes of each file that went out."""
    return {name: count for name, count in hub.stats()["bytes"].items() if count and not name.startswith("/")}


@pytest.mark.parametrize("kind", SOURCES)
def test_index_decides(kind, project, tmp_path):
    """Shards as the index names them, each format once, no code, no pickles; and the bytes that the plan speaks of are those that come."""
    root = tmp_path / "hub"
    wanted = digests(make_model(root / "acme" / "tiny", shards=3))
    wanted = {name: digest for name, digest in wanted.items() if name not in (".gitattributes", "assets/picture.png")}
    write(root / "acme" / "tiny", {name: b"{}" if name.endswith(".json") else b"not wanted: " + name.encode() * 200 for name in DUPLICATES})
    with running_hub(root) as hub:
        manifest(project, hub, kind)
        events = [e for e in project.ok("plan", "--json").events() if e["type"] == "target_planned"]
        project.applied()
        assert digests(project.path("weights")) == wanted
        sent = served(hub)
        index = (project.path("weights") / "model.safetensors.index.json").stat().st_size
        assert sent.keys() == wanted.keys(), sent
        # The index was read for two plans and for the choice, before it was fetched to stay.
        total = sum(path.stat().st_size for path in project.path("weights").iterdir() if path.is_file())
        assert total <= sum(sent.values()) <= total + 3 * index, (sent, total)
        assert events[0]["cost"]["download_bytes"] == total, events
        assert "leaves out" in project.run("plan", "--replace", "w", "-v").out


@pytest.mark.parametrize("name,include,status,code", [
    ("pytorch_model.bin", None, 65, "E0611"),
    ("model.bin", ["*.bin"], 65, "E0611"),
    ("weights.PT", ["weights.PT"], 65, "E0611"),
    ("run.py", ["*"], 65, "E0611"),
    ("model.gguf", ["*.ggfu"], 66, "E0613"),
])
def test_only_by_name(name, include, status, code, project, tmp_path):
    write(tmp_path / "hub" / "acme" / "tiny", {"config.json": b"{}", name: b"\x00" * 64})
    with running_hub(tmp_path / "hub") as hub:
        manifest(project, hub, **({"include": include} if include else {}))
        assert_refused(project.apply(), status, code)
        assert served(hub) == {} and not project.path("weights").exists()


def test_asked_for_by_name(project, tmp_path):
    write(tmp_path / "hub" / "acme" / "tiny", {"config.json": b"{}", "q4.gguf": b"GGUF" * 9, "q8.gguf": b"GGUF" * 99, "pytorch_model.bin": b"\x80\x02."})
    with running_hub(tmp_path / "hub") as hub:
        manifest(project, hub, include=["q4.gguf", "config.json"])
        project.applied()
        assert served(hub).keys() == {"q4.gguf", "config.json"}
        manifest(project, hub, allow_pickle=True)
        assert "run code of the model's author" in project.ok("plan").out
        project.applied()
        assert project.path("weights/pytorch_model.bin").exists() and not project.path("weights/q8.gguf").exists()


def test_incomplete_listing(project, tmp_path):
    """An index that names a shard which the listing lacks: known before the first byte."""
    root = tmp_path / "hub"
    make_model(root / "acme" / "tiny")
    (root / "acme" / "tiny" / "model-00002-of-00002.safetensors").unlink()
    with running_hub(root) as hub:
        manifest(project, hub)
        assert_refused(project.apply(), 69, "E0605", "model-00002-of-00002.safetensors", "incomplete")
        assert served(hub).keys() <= {"model.safetensors.index.json"}


def test_case_twins(project, tmp_path):
    """Two names that are one on some file systems: both are named, nothing is fetched, and `exclude` settles it."""
    write(tmp_path / "hub" / "acme" / "tiny", {"model.safetensors": safetensors({"a": ((2,), b"1234")}), "A.txt": b"large", "a.txt": b"small"})
    with running_hub(tmp_path / "hub") as hub:
        manifest(project, hub)
        assert_refused(project.apply(), 69, "E0607", "`A.txt`", "`a.txt`", "differ only in case")
        assert served(hub) == {} and not project.path("weights").exists()
        manifest(project, hub, exclude=["A.txt"])
        project.applied()
        assert digests(project.path("weights")).keys() == {"model.safetensors", "a.txt"}


NAMES = ("with space.json", " leading.txt", "模型 说明.txt", "标记器/词表.json", "ünï#?%25&+='\".json", "deep/er/and/deeper.json", "-dash.txt", "a'b.txt",
         "emoji-🤖.json", "[bracket]*.txt", "empty.json", "nothing/at/all.txt")


@pytest.mark.parametrize("kind", SOURCES)
def test_names_and_empty_files(kind, project, tmp_path):
    """Names come as they are, through URL, disk, record, plan, adoption and audit; an empty file is a file."""
    files = {name: b"" if "empty" in name or "nothing" in name else name.encode() for name in NAMES}
    write(tmp_path / "hub" / "acme" / "tiny", files | {"model.safetensors": safetensors({"a": ((2,), b"1234")})})
    with running_hub(tmp_path / "hub") as hub:
        manifest(project, hub, kind, include=["*"])
        project.applied()
        assert digests(project.path("weights")) == digests(tmp_path / "hub" / "acme" / "tiny")
        project.nothing_to_do()
        project.ok("audit", "verify", "--deep")
        hub.reset()
        other = Project(tmp_path / "other")
        other.write("provision.yaml", project.read("provision.yaml").replace('"weights"', json.dumps(str(project.path("weights")))))
        other.ok("adopt")
        assert served(hub) == {}
        project.path("weights/模型 说明.txt").unlink()
        assert "模型 说明.txt" in project.ok("plan").out
        project.ok("destroy", "--yes", "w")
        assert not project.path("weights").exists()


def measured(project, *arguments):
    """Seconds and peak memory in MiB of one run."""
    before = time.monotonic()
    process = subprocess.Popen([BINARY, *arguments], cwd=project.root, env=project.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    text = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, text
    return time.monotonic() - before, usage.ru_maxrss >> 10


def test_ten_thousand_files(project, tmp_path):
    """A listing in pages; memory and time stay what a server can spare, and the second look costs stats alone."""
    root = tmp_path / "hub" / "acme" / "tiny"
    count = 10_000
    for n in range(count // 100):
        write(root, {f"part {n:03}/{i:03}.json": b"%d" % (n * 100 + i) for i in range(100)})
    with running_hub(tmp_path / "hub", "--page-size", "1000") as hub:
        manifest(project, hub, include=["*"])
        plan = measured(project, "plan")
        pages = sum(times for path, times in hub.stats()["requests"].items() if "/tree/" in path)
        apply = measured(project, "apply", "--yes", "--downloads", "8")
        assert sum(1 for path in project.path("weights").rglob("*.json") if ".provision" not in path.parts) == count
        assert len(served(hub)) == count
        again, verify = measured(project, "plan"), measured(project, "audit", "verify", "--deep")
        hub.reset()
        other = Project(tmp_path / "other")
        other.write("provision.yaml", project.read("provision.yaml").replace('"weights"', json.dumps(str(project.path("weights")))))
        adopt = measured(other, "adopt")
        assert served(hub) == {}
    figures = {"plan": plan, "apply": apply, "again": again, "verify": verify, "adopt": adopt}
    print("10,000 files:", {name: f"{seconds:.1f} s, {memory} MiB" for name, (seconds, memory) in figures.items()}, f"{pages} pages")
    assert pages >= 10
    if not is_sanitized():
        assert all(memory <= 128 for _, memory in figures.values()), figures
        assert again[0] < 5 and plan[0] < 30, figures
    project.nothing_to_do()
