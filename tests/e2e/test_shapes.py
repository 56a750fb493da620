"""`provision shapes` and `provision diagnose`: answers without a manifest, from a few kilobytes of a repository or from a log."""

import json
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hubs import running_hub
from project import REPOSITORY, Project
from story import BINARY

REPO = "ZhipuAI/AutoGLM-Phone-9B"
CONFIG = REPOSITORY / "tests" / "rules" / "models" / "autoglm-phone-9b" / "config.json"
NVML = Path(os.environ.get("PROVISION_BUILD", REPOSITORY / "build")) / "tests" / "libfake_nvml.so"
NOWHERE = "http://127.0.0.1:9"
GIB = 1 << 30
FOUR = ["--gpu-count", 4, "--gpu-memory", "24GiB", "--max-model-len", 25480]
SHARDS = 4


def tensors_of_glm():
    """Names and shapes of GLM-4.1V's tensors; 20.6 GB in all."""
    yield "model.language_model.embed_tokens.weight", (151552, 4096)
    for layer in range(40):
        for name, shape in {
            "self_attn.q_proj.weight": (4096, 4096), "self_attn.q_proj.bias": (4096,), "self_attn.k_proj.weight": (256, 4096), "self_attn.k_proj.bias": (256,),
            "self_attn.v_proj.weight": (256, 4096), "self_attn.v_proj.bias": (256,), "self_attn.o_proj.weight": (4096, 4096),
            "mlp.gate_up_proj.weight": (27392, 4096), "mlp.down_proj.weight": (4096, 13696), "input_layernorm.weight": (4096,),
            "post_attention_layernorm.weight": (4096,), "post_self_attn_layernorm.weight": (4096,), "post_mlp_layernorm.weight": (4096,),
        }.items():
            yield f"model.language_model.layers.{layer}.{name}", shape
    yield "model.language_model.norm.weight", (4096,)
    for block in range(24):
        for name, shape in {
            "attn.qkv.weight": (4608, 1536), "attn.proj.weight": (1536, 1536), "mlp.gate_proj.weight": (4096, 1536), "mlp.up_proj.weight": (4096, 1536),
            "mlp.down_proj.weight": (1536, 4096), "norm1.weight": (1536,), "norm2.weight": (1536,),
        }.items():
            yield f"model.visual.blocks.{block}.{name}", shape
    yield "model.visual.embeddings.position_embedding.weight", (576, 1536)
    yield "model.visual.patch_embed.proj.weight", (1536, 3, 2, 14, 14)
    yield "model.visual.downsample.weight", (4096, 1536, 2, 2)
    for name, shape in {"proj": (4096, 4096), "gate_proj": (13696, 4096), "up_proj": (13696, 4096), "down_proj": (4096, 13696)}.items():
        yield f"model.visual.merger.{name}.weight", shape
    yield "lm_head.weight", (151552, 4096)


def write_headers(directory, tensors, shards=SHARDS):
    """Files of safetensors that end where their data would begin: nobody is to read further."""
    tensors, weight_map, total = list(tensors), {}, 0
    each = -(-len(tensors) // shards)
    for number in range(shards):
        name, header, at = f"model-{number + 1:05}-of-{shards:05}.safetensors", {"__metadata__": {"format": "pt"}}, 0
        for tensor, shape in tensors[number * each:(number + 1) * each]:
            size = 2
            for side in shape:
                size *= side
            header[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
            weight_map[tensor], at = name, at + size
        text = json.dumps(header, separators=(",", ":")).encode()
        (directory / name).write_bytes(struct.pack("<Q", len(text)) + text)
        total += at
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return total


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The model of the reference scenario at its true size, as far as headers tell."""
    root = tmp_path_factory.mktemp("shapes") / "hub"
    directory = root / REPO
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(CONFIG.read_text())
    assert 20.5e9 < write_headers(directory, tensors_of_glm()) < 20.7e9
    with running_hub(root) as running:
        yield running


@pytest.fixture
def project(tmp_path, real):
    real.reset()
    return Project(tmp_path / "p", HF_ENDPOINT=real.url, MODELSCOPE_ENDPOINT=real.url, PROVISION_NVML="/nowhere/libnvidia-ml.so.1")


def asked(project, *arguments, code=0):
    done = project.run("shapes", "--json", *arguments)
    assert done.code == code and done.err == "", done
    return json.loads(done.out)


def shape(document, name):
    found = [s for s in document["shapes"] if s["shape"] == name]
    assert len(found) == 1, name
    return found[0]


def test_reference_scenario(project, real):
    """Three of four cards, the last to be kept free: the shape that keeps it leads, TP=3 is refuted, each other one says what it takes."""
    began = time.monotonic()
    document = asked(project, f"huggingface:{REPO}", *FOUR, "--gpus", "0-2")
    assert time.monotonic() - began < 10
    first = document["shapes"][0]
    assert (first["pipeline_parallel"], first["tensor_parallel"], first["replicas"], first["verdict"], first["gives_up"]) == (3, 1, 1, "fits", 0)
    assert abs(first["weights_per_gpu"] / GIB - 7.76) < 0.01 and first["weights_exact"] and first["max_model_len"] == 65536
    assert document["gpus"]["kept_free"] == "3" and document["gpus"]["use"] == "0-2"
    tp3 = shape(document, "tp 3")
    assert tp3["verdict"] == "impossible" and tp3["max_model_len"] is None
    assert [r["rule"] for r in tp3["reasons"]][:4] == ["heads", "kv_heads", "intermediate_size", "vocabulary"]
    assert tp3["reasons"][0]["text"] == "32 attention heads do not divide by 3"
    tp4, tp1 = shape(document, "tp 4"), shape(document, "3 x tp 1")
    assert tp4["verdict"] == "fits" and tp4["gives_up"] == 1
    assert tp1["verdict"] == "tight" and abs(tp1["weights_per_gpu"] / GIB - 19.17) < 0.01 and 9553 <= tp1["max_model_len"] < 25480
    keeps = [s["gives_up"] == 0 for s in document["shapes"] if s["verdict"] in ("fits", "tight")]
    assert keeps == sorted(keeps, reverse=True) and not all(keeps)
    stats = real.stats()
    assert set(stats["bytes"]) == {"config.json"} | {f"model-{n:05}-of-00004.safetensors" for n in range(1, 5)}
    assert stats["total"] == document["model"]["bytes_read"] < 95_000 and not stats["leaks"]
    assert not project.path(".provision").exists()


@pytest.mark.parametrize("source", ["huggingface:{repo}", "huggingface:{repo}@main", "modelscope:{repo}", "{url}/plain/{repo}", "file://{root}/{repo}",
                                    "{root}/{repo}"])
def test_every_kind_of_source(project, real, source):
    source = source.format(repo=REPO, url=real.url, root=real.root)
    document = asked(project, source, *FOUR)
    assert document["model"]["architecture"] == "Glm4vForConditionalGeneration" and document["model"]["weights_exact"]
    assert abs(document["model"]["weights"] / GIB - 19.17) < 0.01
    assert shape(document, "tp 4")["verdict"] == "fits" and shape(document, "tp 3")["verdict"] == "impossible"


@pytest.mark.parametrize("hub, listing", [("huggingface", "/api/models/*/tree/*"), ("modelscope", "/api/v1/models/*/repo/files*")])
def test_no_list_of_files(project, real, hub, listing):
    """The index tells as well which files there are."""
    real.fault(listing, "404", times=-1)
    document = asked(project, f"{hub}:{REPO}", *FOUR)
    assert document["model"]["weights_exact"] and abs(document["model"]["weights"] / GIB - 19.17) < 0.01
    assert "model.safetensors.index.json" in real.stats()["bytes"]


def test_many_shards(project, real):
    """Too many to be opened one by one: their sizes do, and nothing but config.json is read."""
    directory = real.root / "acme" / "many"
    if not directory.exists():
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(CONFIG.read_text())
        write_headers(directory, tensors_of_glm(), shards=17)
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    document = asked(project, "huggingface:acme/many", *FOUR)
    assert set(real.stats()["bytes"]) == {"config.json"}
    assert document["model"]["weights_exact"] and document["model"]["weights"] == size


def test_table(project):
    done = project.ok("shapes", f"modelscope:{REPO}", *FOUR, "--gpus", "0,1,2")
    rows = [line for line in done.out.splitlines() if line.startswith(("tp ", "pp ", "2 x", "3 x", "4 x"))]
    assert rows[0].startswith("pp 3 ") and "fits" in rows[0] and "7.76 GiB" in rows[0], done
    assert "takes GPU 3, which is to be kept free" in next(row for row in rows if row.startswith("tp 4 ")), done
    assert "32 attention heads do not divide by 3; 2 KV heads" in rows[-1] and rows[-1].startswith("tp 3 "), done
    assert "keeping GPU 3 free" in done.out and "19.2 GiB of weights" in done.out and "estimate" in done.out, done
    assert len(project.ok("shapes", "-v", f"modelscope:{REPO}", *FOUR).out.splitlines()) > len(done.out.splitlines())


@pytest.mark.skipif(not NVML.exists(), reason="tests were not built here")
def test_gpus_of_this_machine(project, tmp_path):
    cards = tmp_path / "nvml.json"
    cards.write_text(json.dumps({"driver": "575.57.08", "cuda": 12090, "gpus": [{"name": "NVIDIA GeForce RTX 3090"}] * 4}))
    here = {"PROVISION_NVML": str(NVML), "PROVISION_FAKE_NVML": str(cards)}
    done = project.ok("shapes", f"huggingface:{REPO}", "--gpus", "0-2", "--max-model-len", 25480, "--json", **here)
    document = json.loads(done.out)
    assert document["shapes"][0]["shape"] == "pp 3" and document["gpus"]["machine"] == 4 and document["gpus"]["kept_free"] == "3", done
    done = project.ok("shapes", f"huggingface:{REPO}", "--max-model-len", 25480, "--json", **here)
    assert json.loads(done.out)["shapes"][0]["shape"] == "tp 4", done
    done = project.run("shapes", f"huggingface:{REPO}", "--gpus", "0,7", **here)
    assert done.code == 3 and "no GPU `7`" in done.err, done


def test_encoder_modes(project):
    """12 heads of the encoder do not divide by 8: it is tried whole, unless the other mode is asked for."""
    eight = ["--gpu-count", 8, "--gpu-memory", "24GiB", "--max-model-len", 25480]
    tp8 = shape(asked(project, f"huggingface:{REPO}", *eight), "tp 8")
    assert tp8["verdict"] == "fits" and tp8["mm_encoder_tp_mode"] == "data"
    tp8 = shape(asked(project, f"huggingface:{REPO}", *eight, "--mm-encoder-tp-mode", "weights"), "tp 8")
    assert tp8["verdict"] == "impossible" and {r["rule"] for r in tp8["reasons"]} == {"vision"}


def test_types_of_weights_and_cache(project):
    """As `preflight` and vLLM take them: what the weights are loaded as, and what the KV cache keeps; the cache is as the weights unless it is told."""
    usual, wide = (shape(asked(project, f"huggingface:{REPO}", *FOUR, *more), "tp 4") for more in ([], ["--dtype", "float32"]))
    assert wide["weights_per_gpu"] == 2 * usual["weights_per_gpu"] and wide["kv_per_token"] == 2 * usual["kv_per_token"]
    small = shape(asked(project, f"huggingface:{REPO}", *FOUR, "--kv-cache-dtype", "fp8"), "tp 4")
    assert small["weights_per_gpu"] == usual["weights_per_gpu"] and 2 * small["kv_per_token"] == usual["kv_per_token"]
    both = shape(asked(project, f"huggingface:{REPO}", *FOUR, "--dtype", "half", "--kv-cache-dtype", "auto"), "tp 4")
    assert both == usual
    done = project.ok("help", "shapes")
    assert "--dtype auto|bfloat16|" in done.out and "--kv-cache-dtype auto|bfloat16|fp8|" in done.out, done


def test_video_is_what_does_not_fit(project):
    with_video = shape(asked(project, f"huggingface:{REPO}", *FOUR), "tp 1")
    without = shape(asked(project, f"huggingface:{REPO}", *FOUR, "--limit-mm-per-prompt", '{"image": 10, "video": 0}', "--gpu-memory-utilization", "0.95"), "tp 1")
    assert with_video["activations_estimate"] > without["activations_estimate"] + 2 * GIB
    assert with_video["full_length_requests"] == 0 and without["full_length_requests"] == 2


def test_what_is_not_known_is_not_guessed(project):
    config = {"architectures": ["BrandNewForCausalLM"], "model_type": "brand_new", "num_attention_heads": 32, "auto_map": {"AutoModel": "x.Y"}}
    project.write("m/config.json", json.dumps(config))
    document = asked(project, "m", *FOUR)
    assert document["model"]["auto_map"] and not document["model"]["weights_exact"]
    tp4 = shape(document, "tp 4")
    assert tp4["verdict"] == "unknown" and {"intermediate_size", "vocab_size", "how a `brand_new` is built", "the size of the weights"} <= set(tp4["missing"])
    assert shape(document, "tp 3")["verdict"] == "impossible"
    done = project.ok("shapes", "m", *FOUR)
    assert "not known: how a `brand_new` is built" in done.out and "auto_map" in done.out, done
    # Without the GPUs' memory the dimensions alone speak.
    document = asked(project, f"huggingface:{REPO}", "--gpu-count", 4)
    assert shape(document, "tp 4")["missing"] == ["the memory of the GPUs"] and shape(document, "tp 3")["verdict"] == "impossible"


def test_broken_weights_leave_an_estimate(project):
    project.write("m/config.json", CONFIG.read_text())
    project.write("m/model.safetensors.index.json", '{"weight_map": {"a": "../../etc/passwd"}}')
    document = asked(project, "m", *FOUR)
    assert not document["model"]["weights_exact"] and "no file name" in document["model"]["weights_problem"]
    assert abs(document["model"]["weights"] / GIB - 19.17) < 0.01


@pytest.mark.parametrize("arguments, code, words", [
    (["m", *FOUR[:4], "--gpus", "0-9"], 3, "no GPU `4` among 4"),
    (["m", *FOUR[:4], "--gpus", "2-0"], 64, "no range"),
    (["m", *FOUR[:4], "--gpus", ""], 64, "names no GPU"),
    (["m", *FOUR[:4], "--gpus", "0,,1"], 65, "neither an index nor a UUID"),
    (["m", *FOUR[:4], "--gpus", "x"], 65, "neither an index nor a UUID"),
    (["m"], 64, "--gpu-count 4 --gpu-memory 24GiB"),
    (["m", "--gpu-memory", "much"], 64, "wants a size"),
    (["m", "--gpu-memory-utilization", "1.5"], 64, "above 0 and at most 1"),
    (["m", *FOUR, "--limit-mm-per-prompt", "[]"], 65, "not a map of counts"),
    (["m", *FOUR, "--dtype", "bf16"], 64, "bfloat16"),
    (["m", *FOUR, "--kv-cache-dtype", "fp4"], 64, "fp8_e4m3"),
    (["nowhere", *FOUR], 66, "config.json"),
    (["huggingface:no/such", *FOUR], 66, "no/such"),
    (["ftp://x/y", *FOUR], 65, "ftp"),
    ([], 64, "usage: provision shapes MODEL"),
    (["m", "--offline", *FOUR], 0, ""),
    ([f"huggingface:{REPO}", "--offline", *FOUR], 69, "offline"),
    (["m", "--gpu-count", 1, "--gpu-memory", "16GiB"], 3, ""),
])
def test_ends(project, arguments, code, words):
    project.write("m/config.json", CONFIG.read_text())
    done = project.run("shapes", *arguments)
    assert done.code == code and words in done.err and "E0999" not in done.text, done


def test_hub_out_of_reach(project):
    done = project.run("shapes", "huggingface:a/b", *FOUR, HF_ENDPOINT=NOWHERE)
    assert done.code == 69 and done.out == "", done


# ---- diagnose

HEADS = "(EngineCore_DP0 pid=212) ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3).\n"


def from_stdin(project, log, *arguments):
    done = subprocess.run([BINARY, "diagnose", "-", *arguments], cwd=project.root, env=project.env, input=log, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_diagnosis_of_a_file(project):
    project.write("vllm.log", "INFO starting\n" + HEADS + "RuntimeError: Engine core initialization failed. See root cause above.\n")
    done = project.ok("diagnose", "vllm.log")
    for words in ("F01  32 attention heads do not divide by tensor parallel size 3", "log:  ValueError: Total number", "help: ", "class: infeasible"):
        assert words in done.out, done
    assert not project.path(".provision").exists()


def test_diagnosis_of_standard_input(project):
    code, out, err = from_stdin(project, HEADS.encode(), "--json")
    found = json.loads(out)
    assert (code, err, found["id"], found["class"]) == (0, "", "F01", "infeasible") and "divides 32" in found["help"]


def test_unknown_log(project):
    code, out, err = from_stdin(project, b"boot\nERROR one\nmypackage.OddError: \xff\x1b[31mtwo\nbye\n", "--json")
    found = json.loads(out)
    assert (code, err, found["id"], found["class"]) == (1, "", None, "start_failed")
    assert found["last_errors"][0] == "ERROR one" and found["last_errors"][1].endswith("two") and len(found["last_errors"]) == 2
    code, out, err = from_stdin(project, b"boot\nERROR one\nbye\n")
    assert code == 1 and out.startswith("unknown  ") and "log:  ERROR one" in out
    code, out, err = from_stdin(project, b"")
    assert code == 1 and out.startswith("unknown  ")


def test_long_log(project):
    """The end of a log that is too long to keep counts, and the whole is read in passing."""
    project.write("long.log", b"INFO nothing happens here, again and again and again\n" * 800_000 + HEADS.encode())
    done = project.ok("diagnose", "long.log", timeout=120)
    assert done.out.startswith("F01"), done


@pytest.mark.parametrize("name, code", [("nowhere.log", 66), (".", 74)])
def test_no_log(project, name, code):
    done = project.run("diagnose", name)
    assert done.code == code and done.out == "" and "E0999" not in done.text, done
