"""The manifests that ship: they check, and their plans are honest on a machine without GPUs, and on one that only seems to have four."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from hubs import running_hub
from project import REPOSITORY, Project, assert_events, assert_refused, diagnostics
from story import free_port, make_glm

MANIFESTS = REPOSITORY / "manifests"
SHAPES = sorted(path.name for path in MANIFESTS.glob("*.yaml"))
REPO = "ZhipuAI/AutoGLM-Phone-9B"
NOWHERE = "http://127.0.0.1:9"
NVML = Path(os.environ.get("PROVISION_BUILD", REPOSITORY / "build")) / "tests" / "libfake_nvml.so"
needs_nvml = pytest.mark.skipif(not NVML.exists(), reason="tests were not built here")


@pytest.fixture
def bare(tmp_path):
    """No GPU, no hub, no container engine."""
    return Project(tmp_path / "p", HF_ENDPOINT=NOWHERE, MODELSCOPE_ENDPOINT=NOWHERE, DOCKER_HOST=f"unix://{tmp_path}/no.sock", PROVISION_NVML="/nowhere/libnvidia-ml.so.1")


@pytest.fixture(scope="module")
def glm(tmp_path_factory):
    root = tmp_path_factory.mktemp("glm") / "hub"
    make_glm(root / REPO)
    with running_hub(root) as running:
        yield running


@pytest.fixture
def four_cards(tmp_path, glm):
    """Four cards of 24 GiB, a driver, the model's hub; no container engine."""
    glm.reset()
    cards = tmp_path / "nvml.json"
    cards.write_text(json.dumps({"driver": "575.57.08", "cuda": 12090, "gpus": [{"name": "NVIDIA GeForce RTX 3090"}] * 4}))
    return Project(tmp_path / "p", HF_ENDPOINT=glm.url, MODELSCOPE_ENDPOINT=glm.url, DOCKER_HOST=f"unix://{tmp_path}/no.sock", PROVISION_NVML=NVML,
                   PROVISION_FAKE_NVML=cards)


def plan(project, name, *more):
    return project.run("plan", MANIFESTS / name, "--set", f"root={project.root}", "--set", "port=18765", *more)


@pytest.mark.parametrize("name", SHAPES)
def test_check(bare, name):
    done = bare.ok("check", MANIFESTS / name)
    assert "ok, 8 targets" in done.out, done
    graph = json.loads(bare.ok("graph", MANIFESTS / name, "--json").out)
    assert graph and not bare.path(".provision").exists()


@pytest.mark.parametrize("name", SHAPES)
def test_plan_on_a_bare_machine(bare, name):
    """What is missing is said, all of it; what cannot be known is not made up."""
    before = bare.tree()
    done = plan(bare, name, "--no-fallback")
    assert done.code in (3, 4), done
    for word in ("E0501", "no.sock", "modelscope"):
        assert word in done.text, done
    assert "unknown" in done.text and "config.json" in done.text, done
    assert "E0999" not in done.text and "Sanitizer" not in done.text, done
    assert "feasible as written" not in done.out.replace("infeasible as written", ""), done
    assert bare.tree() == before


def test_apply_on_a_bare_machine(bare):
    done = bare.run("apply", "--yes", MANIFESTS / "tp3.yaml", "--set", f"root={bare.root}/data", timeout=120)
    assert done.code in (3, 4) and "E0501" in done.text, done
    assert not bare.path("data").exists()


@needs_nvml
def test_tp3_is_refuted_from_a_few_kilobytes(four_cards, glm):
    done = plan(four_cards, "tp3.yaml", "--no-fallback")
    assert done.code == 3, done
    assert "E0401" in done.text and "32 attention heads" in done.text and "3" in done.text, done
    stats = glm.stats()
    assert stats["total"] < 100_000, stats
    assert not any(name.endswith(".safetensors") for name in stats["bytes"]), stats
    assert "tp3.yaml" in done.text and "tensor_parallel" in done.text, done


@needs_nvml
def test_tp3_names_the_shapes_that_work(four_cards):
    done = plan(four_cards, "tp3.yaml", "--json", "--no-fallback")
    assert_events(done)
    (refuted,) = [d for d in diagnostics(done) if d["code"] == "E0401"]
    assert any(span["file"].endswith("tp3.yaml") and span["line"] == 7 for span in refuted["spans"]), refuted
    helps = " ".join(h["msg"] for h in refuted["helps"])
    assert "1" in helps and "pipeline_parallel" in helps.replace("pipeline parallel", "pipeline_parallel") or "pp 3" in helps, refuted


@needs_nvml
def test_tp3_with_its_fallbacks(four_cards):
    """tp4 would run this model; what stands against it on this machine is the missing container engine, and it is named."""
    done = plan(four_cards, "tp3.yaml")
    assert "tp4.yaml" in done.text and done.code in (0, 3, 4), done
    assert "E0511" in done.text or "container engine" in done.text, done
    told = plan(four_cards, "tp4.yaml", "--no-fallback")
    assert "E0401" not in told.text and "E0402" not in told.text and "E0511" in told.text, told
    assert told.code == 4, told


@needs_nvml
@pytest.mark.parametrize("name, verdict", [("tp4.yaml", "tp 4"), ("pp3.yaml", "pp 3"), ("tp1x3.yaml", "tp 1"), ("tp2x2.yaml", "tp 2")])
def test_shape_fits(four_cards, name, verdict):
    """By the preflight alone, these shapes can run the model on four such cards."""
    done = plan(four_cards, name, "--no-fallback", "preflight")
    assert done.code == 0 and verdict in done.out and "feasible" in done.out, done


@needs_nvml
@pytest.mark.parametrize("name, replicas", [("tp4.yaml", 1), ("tp1x3.yaml", 3), ("tp2x2.yaml", 2)])
def test_every_port_of_a_shape_is_asked_for(four_cards, name, replicas):
    """All move with the first one."""
    for _ in range(10):
        first = free_port()
        with contextlib.ExitStack() as open_sockets:
            try:
                for port in range(first, first + replicas + 1):
                    open_sockets.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue  # one of them is somebody else's
            done = plan(four_cards, name, "--no-fallback", "--set", f"port={first}")
            break
    assert done.code in (3, 4), done
    assert all(f"port {port} is held" in done.text for port in range(first, first + replicas)), done
    assert f"port {first + replicas} is held" not in done.text and "port 800" not in done.text, done


@needs_nvml
def test_reserved_card(four_cards):
    """Card 3 is promised to somebody else."""
    done = plan(four_cards, "pp3.yaml", "--set", "gpus=[1, 2, 3]", "--no-fallback")
    assert done.code == 3 and "E0405" in done.text and "training" in done.text, done


@needs_nvml
def test_busy_card(four_cards, tmp_path):
    """A card that somebody else uses is not taken: nothing is started beside him."""
    cards = [{}, {"used_mib": 20000, "processes": [{"pid": os.getpid(), "mib": 20000}]}]
    (tmp_path / "nvml.json").write_text(json.dumps({"gpus": cards}))
    four_cards.write("m.yaml", f"provision: 1\nname: m\ntargets:\n  s: {{rule: service, runtime: process, command: [touch, started], gpus: [0, 1], port: {free_port()}}}\n")
    done = four_cards.run("apply", "--yes", "m.yaml")
    assert_refused(done, 4, "E0806", str(os.getpid()))
    assert not four_cards.path("started").exists()


@needs_nvml
def test_three_cards_alone(four_cards, tmp_path):
    (tmp_path / "nvml.json").write_text(json.dumps({"gpus": [{}] * 3}))
    done = plan(four_cards, "tp4.yaml", "--no-fallback")
    assert done.code in (3, 4) and ("E0502" in done.text or "E0403" in done.text), done
