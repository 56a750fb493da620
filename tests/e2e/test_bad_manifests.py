"""Manifests that are wrong: each is refused with its code, at its line and column, in little time and memory, and nothing is written."""

import os
import subprocess

import pytest
from project import BINARY, REPOSITORY, Project, assert_refused, diagnostics, run_limited

HEAD = "provision: 1\nname: bad\n"
COMMAND = HEAD + "targets:\n  a:\n    rule: command\n    command: [make]\n"


def chain(count):
    """`count` maps within each other, in flow style."""
    return "x-deep: " + "{a: " * count + "1" + "}" * count + "\n"


def bomb():
    """Ten lines that stand for 10^9 nodes."""
    rows = ["x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(rows) + "\n"


# name, text, code, status, line, column, words that the diagnostic must hold. Line 0: the file as a whole.
CASES = [
    ("unknown_key_top", HEAD + "tragets: {}\ntargets: {}\n", "E0102", 65, 3, 1, ["`tragets`", "`targets`"]),
    ("unknown_key", COMMAND + "    comand: [x]\n", "E0102", 65, 7, 5, ["`comand`", "did you mean `command`"]),
    ("unknown_key_deep", HEAD + "targets:\n  a:\n    rule: host\n    gpus: {cuont: 3}\n", "E0102", 65, 6, 12, ["`cuont`", "`count`"]),
    ("unknown_key_wide", HEAD + "x-note: 健康\ntargets:\n  a: {rule: directory, description: 健康, paht: x, path: y}\n", "E0102", 65, 5, 41, ["`paht`"]),
    ("wrong_type", HEAD + "targets:\n  a:\n    rule: directory\n    path: [x, y]\n", "E0103", 65, 6, 11, ["`path`"]),
    ("wrong_type_map", HEAD + "targets: [a, b]\n", "E0103", 65, 3, 10, ["targets"]),
    ("not_a_bool", COMMAND + "    always: yes\n", "E0103", 65, 7, 13, ["`always`"]),
    ("not_an_enum", HEAD + "targets:\n  a:\n    rule: service\n    runtime: lxc\n    port: 1\n    command: [x]\n", "E0103", 65, 6, 14, ["lxc", "process"]),
    ("huge_integer", HEAD + "targets:\n  a:\n    rule: service\n    runtime: process\n    command: [x]\n    port: 99999999999999999999999\n", "E0103", 65, 8, 11, ["`port`"]),
    ("huge_port", HEAD + "targets:\n  a:\n    rule: service\n    runtime: process\n    command: [x]\n    port: 65536\n", "E0103", 65, 8, 11, ["65536"]),
    ("negative_count", HEAD + "targets:\n  a:\n    rule: service\n    runtime: process\n    command: [x]\n    port: 8000\n    replicas: -2\n", "E0103", 65, 9, 15, ["`replicas`"]),
    ("huge_size", HEAD + "targets:\n  a:\n    rule: host\n    disk: [{path: ., free: 99999999999999TiB}]\n", "E0103", 65, 6, 28, ["99999999999999TiB"]),
    ("negative_size", HEAD + "targets:\n  a:\n    rule: host\n    disk: [{path: ., free: -1GB}]\n", "E0103", 65, 6, 28, ["-1GB"]),
    ("size_without_unit", HEAD + "targets:\n  a:\n    rule: host\n    disk: [{path: ., free: 80 apples}]\n", "E0103", 65, 6, 28, ["80 apples"]),
    ("huge_duration", COMMAND + "    timeout: 99999999999999h\n", "E0103", 65, 7, 14, ["99999999999999h"]),
    ("no_duration", COMMAND + "    timeout: soon\n", "E0103", 65, 7, 14, ["soon"]),
    ("negative_duration", COMMAND + "    timeout: -5s\n", "E0103", 65, 7, 14, ["-5s"]),
    ("missing_key", HEAD + "targets:\n  a:\n    rule: command\n", "E0104", 65, 4, 3, ["`command`"]),
    ("missing_rule", HEAD + "targets:\n  a:\n    command: [x]\n", "E0104", 65, 4, 3, ["`rule`"]),
    ("missing_name", "provision: 1\ntargets: {}\n", "E0104", 65, 1, 1, ["`name`"]),
    ("missing_version", "name: bad\ntargets: {}\n", "E0104", 65, 1, 1, ["`provision`"]),
    ("duplicate_key", COMMAND + "    command: [other]\n", "E0105", 65, 7, 5, ["`command`", "6"]),
    ("duplicate_target", HEAD + "targets:\n  a: {rule: directory, path: x}\n  a: {rule: directory, path: y}\n", "E0105", 65, 5, 3, ["`a`"]),
    ("alias_bomb", HEAD + bomb() + "targets: {}\n", "E0106", 65, None, None, []),
    ("deep", HEAD + chain(70) + "targets: {}\n", "E0106", 65, 3, None, ["64"]),
    ("very_deep", HEAD + chain(100_000) + "targets: {}\n", "E0106", 65, 3, None, ["64"]),
    ("deep_block", HEAD + "x-deep:\n" + "".join(" " * n + "a:\n" for n in range(1, 900)) + "targets: {}\n", "E0106", 65, None, None, ["64"]),
    ("large", HEAD + "x-note: " + "x" * (65 << 20) + "\ntargets: {}\n", "E0106", 65, 0, 0, ["bad.yaml"]),
    ("bad_utf8", HEAD.encode() + b"x-note: a\xff\xfeb\ntargets: {}\n", "E0107", 65, 3, 10, []),
    ("utf8_cut", HEAD.encode() + b"x-note: \xe5\x81", "E0107", 65, 3, 9, []),
    ("overlong_utf8", HEAD.encode() + b"x-note: \xc0\xaf\ntargets: {}\n", "E0107", 65, 3, 9, []),
    ("surrogate_utf8", HEAD.encode() + b"x-note: \xed\xa0\x80\ntargets: {}\n", "E0107", 65, 3, 9, []),
    ("nul_byte", HEAD.encode() + b"x-note: a\x00b\ntargets: {}\n", "E0107", 65, 3, 10, []),
    ("escape_byte", HEAD.encode() + b"x-note: a\x1b[31mb\ntargets: {}\n", "E0107", 65, 3, 10, []),
    ("utf16", "provision: 1\nname: bad\ntargets: {}\n".encode("utf-16"), "E0107", 65, 1, 1, []),
    ("newer_format", "provision: 2\nname: bad\ntargets: {}\n", "E0108", 65, 1, 12, ["2"]),
    ("format_text", "provision: one\nname: bad\ntargets: {}\n", "E0108", 65, 1, 12, []),
    ("unknown_rule", HEAD + "targets:\n  a: {rule: servise}\n", "E0109", 65, 4, 13, ["`servise`", "`service`"]),
    ("undefined_var", HEAD + "vars: {root: /x}\ntargets:\n  a: {rule: directory, path: \"${rot}/y\"}\n", "E0110", 65, 5, None, ["`${rot}`", "`${root}`"]),
    ("undefined_env", HEAD + "targets:\n  a: {rule: directory, path: \"${env.SURELY_NOT_SET}\"}\n", "E0110", 65, 4, None, ["SURELY_NOT_SET"]),
    ("bad_reference", HEAD + "targets:\n  a: {rule: directory, path: \"${x + 1}\"}\n", "E0111", 65, 4, None, []),
    ("open_reference", HEAD + "targets:\n  a: {rule: directory, path: \"${x\"}\n", "E0111", 65, 4, None, []),
    ("reference_cycle", HEAD + "vars:\n  a: ${b}\n  b: ${c}\n  c: ${a}\ntargets: {}\n", "E0111", 65, 6, 6, ["a -> b -> c -> a"]),
    ("list_in_text", HEAD + "vars: {gpus: [0, 1]}\ntargets:\n  a: {rule: directory, path: \"on-${gpus}\"}\n", "E0111", 65, 5, None, ["gpus"]),
    ("extends_missing", HEAD + "extends: no-such.yaml\ntargets: {}\n", "E0301", 66, 3, 10, ["no-such.yaml"]),
    ("extends_itself", HEAD + "extends: bad.yaml\ntargets: {}\n", "E0112", 65, 3, 10, ["bad.yaml"]),
    ("bad_target_name", HEAD + "targets:\n  ../../etc: {rule: directory, path: x}\n", "E0113", 65, 4, 3, ["../../etc"]),
    ("long_target_name", HEAD + "targets:\n  " + "a" * 64 + ": {rule: directory, path: x}\n", "E0113", 65, 4, 3, []),
    ("bad_deployment_name", "provision: 1\nname: Bad Name\ntargets: {}\n", "E0113", 65, 2, 7, ["Bad Name"]),
    ("secret", HEAD + "vars: {token: hf_abcdefghijklmnopqrstuvwxyzABCDEF12}\ntargets: {}\n", "E0114", 65, 3, None, []),
    ("conflict", HEAD + "targets:\n  a:\n    rule: image\n    tag: a:1\n    context: .\n    from: b:1\n", "E0115", 65, None, None, ["`from`", "`context`"]),
    ("string_without_shell", HEAD + "targets:\n  a: {rule: command, command: make all}\n", "E0103", 65, 4, None, ["shell: true"]),
    ("fallback_word", HEAD + "fallback: [{manifest: bad.yaml, on: [sunday]}]\ntargets: {}\n", "E0103", 65, 3, None, ["sunday"]),
    ("cycle", HEAD + "targets:\n  a: {rule: directory, path: x, needs: [b]}\n  b: {rule: directory, path: y, needs: [c]}\n"
     "  c: {rule: directory, path: z, needs: [a]}\n", "E0201", 65, 4, 41, ["a -> b -> c -> a"]),
    ("cycle_of_one", HEAD + "targets:\n  a: {rule: directory, path: x, needs: [a]}\n", "E0201", 65, 4, 41, ["a -> a"]),
    ("cycle_of_references", HEAD + "targets:\n  a: {rule: directory, path: \"${b.path}/a\"}\n  b: {rule: directory, path: \"${a.path}/b\"}\n",
     "E0201", 65, 4, None, ["a -> b -> a"]),
    ("unknown_need", HEAD + "targets:\n  image: {rule: directory, path: x}\n  b: {rule: directory, path: y, needs: [imgae]}\n", "E0202", 65, 5, 41,
     ["`imgae`", "`image`"]),
    ("unknown_output", HEAD + "targets:\n  a: {rule: directory, path: x}\n  b: {rule: directory, path: \"${a.paht}/y\"}\n", "E0203", 65, 5, None,
     ["`paht`", "`path`"]),
    ("two_makers_of_output", HEAD + "targets:\n  a: {rule: command, command: [x], outputs: [o]}\n  b: {rule: command, command: [x], outputs: [o]}\n",
     "E0204", 65, 5, None, ["`a`"]),
    ("two_services_on_a_port", HEAD + "targets:\n  a: {rule: service, runtime: process, command: [x], port: 8000, replicas: 3}\n"
     "  b: {rule: service, runtime: process, command: [x], port: 8002, host: 0.0.0.0}\n", "E0204", 65, 5, 60, ["`a`", "`b`", "port `8002`", "bad.yaml:4:60"]),
    ("two_images_of_a_tag", HEAD + "targets:\n  a: {rule: image, from: \"x:1\", tag: mine}\n  b: {rule: image, from: \"x:2\", tag: \"mine:latest\"}\n",
     "E0204", 65, 5, 38, ["tag `mine:latest`", "bad.yaml:4:38"]),
    ("two_directories", HEAD + "targets:\n  a: {rule: directory, path: x}\n  b: {rule: directory, path: ./x/}\n", "E0204", 65, 5, 30, ["`a`"]),
    ("two_models_in_a_directory", HEAD + "targets:\n  a: {rule: model, source: \"huggingface:o/m\", dir: x}\n"
     "  b: {rule: model, source: \"huggingface:o/n\", dir: x}\n", "E0204", 65, 5, None, ["`a`", "bad.yaml:4:3"]),
    ("two_downloads_of_a_path", HEAD + "targets:\n  a: {rule: download, url: \"https://x/a\", path: x, sha256: " + "a" * 64 + "}\n"
     "  b: {rule: download, url: \"https://x/b\", path: x, sha256: " + "b" * 64 + "}\n", "E0204", 65, 5, None, ["`a`", "bad.yaml:4:3"]),
    ("empty", "", "E0101", 65, 1, 1, ["empty"]),
    ("comments_alone", "# nothing\n\n", "E0101", 65, 1, 1, ["empty"]),
    ("scalar", "hello\n", "E0103", 65, 1, 1, []),
    ("tab", HEAD + "targets:\n\ta: {}\n", "E0101", 65, 4, 1, []),
    ("open_quote", HEAD + "x-a: \"abc\ntargets: {}\n", "E0101", 65, None, None, []),
    ("unknown_alias", HEAD + "x-a: *nowhere\ntargets: {}\n", "E0101", 65, 3, 6, ["nowhere"]),
    ("python_tag", HEAD + "x-a: !!python/object:os.system [ls]\ntargets: {}\n", "E0103", 65, 3, 6, []),
    ("two_documents", HEAD + "targets: {}\n---\nname: other\n", "E0101", 65, 4, 1, []),
    ("recursive_alias", HEAD + "x-a: &a [*a]\ntargets: {}\n", "E0101", 65, 3, None, []),
]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "p")


@pytest.mark.parametrize("text, code, status, line, column, words", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_refused(project, text, code, status, line, column, words):
    project.write("bad.yaml", text)
    done = run_limited(project, ["check", "bad.yaml", "--json"])
    assert done.code == status, done
    found = [d for d in diagnostics(done) if d["code"] == code]
    assert found, done
    first = found[0]
    for word in words:
        assert word in first["rendered"], done
    spans = [s for s in first["spans"] if s["primary"]]
    if line:
        assert spans and spans[0]["file"].endswith("bad.yaml") and spans[0]["line"] == line, done
    if line and column:
        assert spans[0]["col"] == column, done
    assert "\x1b" not in done.out and "hf_abcdef" not in done.out, done
    planned = project.run("plan", "bad.yaml")
    assert planned.code == status and f"[{code}]" in planned.err and planned.out == "", planned
    assert "hf_abcdef" not in planned.text, planned
    assert not project.path(".provision").exists()
    # What cannot be read is not carried out either.
    applied = project.run("apply", "--yes", "bad.yaml")
    assert applied.code == status and not project.path(".provision/cache.db").exists(), applied


@pytest.mark.parametrize("targets", [
    "  a: {rule: service, runtime: process, command: [x], port: 8000, replicas: 2}\n  b: {rule: service, runtime: process, command: [x], port: 8002}\n",
    "  a: {rule: service, runtime: process, command: [x], port: 8000}\n  b: {rule: service, runtime: process, command: [x], port: 8000, host: 127.0.0.2}\n",
    "  a: {rule: image, from: \"x:1\", tag: mine}\n  b: {rule: image, from: \"x:1\", tag: mine}\n",
    "  a: {rule: directory, path: x}\n  b: {rule: model, source: \"huggingface:o/m\", dir: x}\n",
])
def test_claims_that_do_not_meet(project, targets):
    project.write("good.yaml", HEAD + "targets:\n" + targets)
    done = project.run("check", "good.yaml")
    assert done.code == 0, done


@pytest.mark.parametrize("rest, wanted", [
    ("targets:\n  a: {rule: servise}\n  b: {rule: command, comand: [x], command: [y]}\n  c: {rule: directory, path: x, needs: [nobody]}\n"
     "  d: {rule: directory, path: \"${c.paht}\"}\n  e: {rule: directory, mode: 0755}\n",
     [(4, "E0109"), (5, "E0102"), (6, "E0202"), (7, "E0203"), (8, "E0104")]),
    ("vars: {a: \"${b}\", b: \"${a}\"}\ntargets:\n  d: {rule: directory, path: \"${nothing}\"}\n  e: {rule: directory, path: \"${no thing}\"}\n"
     "  f: 3\nlimits: {time: soon}\n",
     [(3, "E0111"), (5, "E0110"), (6, "E0111"), (7, "E0103"), (8, "E0103")]),
    ("targets:\n  a: {rule: directory, path: \"${nothing}\"}\n  b: {rule: servise}\n  c: {rule: directory, paht: x, path: y}\n",
     [(4, "E0110"), (5, "E0109"), (6, "E0102")]),
], ids=["links", "values", "both"])
def test_all_errors_in_one_run(project, rest, wanted):
    project.write("bad.yaml", HEAD + rest)
    done = project.run("check", "bad.yaml", "--json")
    places = [(d["spans"][0]["line"], d["code"]) for d in diagnostics(done)]
    assert done.code == 65 and places == wanted, done


def test_at_most_so_many(project):
    project.write("bad.yaml", HEAD + "targets:\n" + "".join(f"  a{n}: {{rule: nothing}}\n" for n in range(100)))
    for option, count in (((), 20), (("--max-errors", "3"), 3)):
        done = project.run("check", "bad.yaml", *option)
        assert done.code == 65 and done.err.count("error[E0109]") == count and f"100 errors, of which {count} are shown" in done.err, done


@pytest.mark.parametrize("form, wanted", [
    ("short", "bad.yaml:7:5: error[E0102]: "),
    ("github", "::error file=bad.yaml,line=7,col=5,title=E0102::"),
    ("human", "  --> bad.yaml:7:5\n   |\n 7 |     comand: [x]\n   |     ^^^^^^"),
])
def test_forms(project, form, wanted):
    project.write("bad.yaml", COMMAND + "    comand: [x]\n")
    done = project.run("check", "bad.yaml", "--diag", form)
    assert done.code == 65 and wanted in done.err, done


@pytest.mark.parametrize("body, place, missing", [
    ("    rule: command\n    command: [touch, o]\n    inputs: [no/such/file]\n    outputs: [o]\n", "m.yaml:7:", "no/such/file"),
    ("    rule: image\n    tag: a:1\n    context: .\n", "m.yaml:", "Dockerfile"),
    ("    rule: image\n    tag: a:1\n    context: .\n    dockerfile: other/Dockerfile\n", "m.yaml:8:", "other/Dockerfile"),
    ("    rule: image\n    tag: a:1\n    context: nowhere\n", "m.yaml:7:", "nowhere"),
    ("    rule: model\n    source: file://./nowhere\n    dir: m\n", "m.yaml:", "nowhere"),
], ids=["input", "dockerfile", "named_dockerfile", "context", "local_model"])
def test_missing_file(project, body, place, missing):
    """Syntax is right, so `check` is content; the plan says what is not there, and nothing starts."""
    project.write("m.yaml", HEAD + "targets:\n  a:\n" + body)
    project.ok("check", "m.yaml")
    for command in (["plan", "m.yaml"], ["apply", "--yes", "m.yaml"]):
        assert_refused(project.run(*command), 66, "E0301", missing, place)
    assert not project.path("o").exists()


@pytest.mark.parametrize("arguments, code, status, words", [
    (["plan", "nowhere.yaml"], "E0301", 66, ["nowhere.yaml"]),
    (["plan", "goood.yaml"], "E0301", 66, ["did you mean `good.yaml`"]),
    (["plan", "directory.yaml"], "E0301", 66, ["directory.yaml", "directory"]),
    (["plan", "locked.yaml"], "E0907", 77, ["locked.yaml"]),
    (["plan"], "E0301", 66, []),
    (["plan", "good.yaml", "imgae"], "E0002", 64, ["imgae", "image"]),
    (["plan", "good.yaml", "--target", "x*"], "E0002", 64, ["x*"]),
    (["plan", "good.yaml", "--exclude", "nobody"], "E0002", 64, ["nobody"]),
    (["plan", "good.yaml", "--replace", "nobody"], "E0002", 64, ["nobody"]),
    (["plan", "good.yaml", "--target", "image", "--exclude", "image"], "E0001", 64, ["image"]),
    (["plan", "good.yaml", "--set", "novalue"], "E0001", 64, ["novalue"]),
    (["plan", "good.yaml", "--set", "sise=2"], "E0001", 64, ["sise", "did you mean `size`"]),
    (["plan", "good.yaml", "--set", "other.key=2"], "E0001", 64, ["other"]),
    (["plan", "good.yaml", "--set", "size=[1"], "E0101", 65, []),
    (["apply", "good.yaml", "--jobs", "0"], "E0001", 64, ["jobs"]),
    (["apply", "good.yaml", "--jobs", "many"], "E0001", 64, ["many"]),
    (["plan", "--no-such-option"], "E0001", 64, ["--no-such-option"]),
    (["plna"], "E0001", 64, ["plan"]),
    (["why", "good.yaml"], "E0001", 64, []),
    (["logs", "image"], "E0908", None, []),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_command_lines(project, arguments, code, status, words):
    project.write("good.yaml", HEAD + "vars: {size: 1}\ntargets:\n  image: {rule: directory, path: x}\n")
    project.path("directory.yaml").mkdir()
    project.write("locked.yaml", HEAD + "targets: {}\n").chmod(0)
    try:
        import os
        if "locked.yaml" in arguments and os.geteuid() == 0:
            pytest.skip("nothing is forbidden to root")
        done = project.run(*arguments)
    finally:
        project.path("locked.yaml").chmod(0o600)
    assert_refused(done, done.code if status is None else status, code, *words)
    assert done.code != 0 and not project.path(".provision").exists(), done


def test_fallback_of_another_deployment(project):
    project.write("a.yaml", HEAD + "fallback: b.yaml\ntargets: {}\n")
    project.write("b.yaml", HEAD.replace("bad", "other") + "targets: {}\n")
    assert_refused(project.run("check", "a.yaml"), 65, "E0116", "a.yaml:3:11", "other", "bad")


def test_fallback_that_is_not_there(project):
    project.write("a.yaml", HEAD + "fallback: no-such.yaml\ntargets: {}\n")
    assert_refused(project.run("check", "a.yaml"), 65, "E0116", "a.yaml:3:11", "no-such.yaml")


def test_extends_in_a_circle(project):
    project.write("a.yaml", "provision: 1\nextends: b.yaml\n")
    project.write("b.yaml", "provision: 1\nextends: c.yaml\n")
    project.write("c.yaml", "provision: 1\nname: x\nextends: a.yaml\n")
    assert_refused(project.run("check", "a.yaml"), 65, "E0112", "a.yaml")


def test_extends_too_far(project):
    for n in range(20):
        project.write(f"m{n}.yaml", f"provision: 1\nextends: m{n + 1}.yaml\n")
    project.write("m20.yaml", HEAD + "targets: {}\n")
    assert_refused(project.run("check", "m0.yaml"), 65, "E0112", "16")


def test_error_in_the_extended_manifest(project):
    """The place is where the mistake stands, not where it was found."""
    project.write("base/common.yaml", COMMAND + "    comand: [x]\n")
    project.write("shape.yaml", "provision: 1\nextends: base/common.yaml\n")
    assert_refused(project.run("check", "shape.yaml"), 65, "E0102", "base/common.yaml:7:5")


def test_stdin_is_a_manifest(project):
    done = subprocess.run([BINARY, "check", "-"], cwd=project.root, env=project.env, input=COMMAND + "    comand: [x]\n", capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 65 and "E0102" in done.stderr and ":7:5" in done.stderr, done


def test_many_targets_are_no_absurdity(project):
    rows = "".join(f"  t{n}: {{rule: command, command: [x], outputs: [o{n}], needs: [t{n - 1}]}}\n" for n in range(1, 20_000))
    project.write("many.yaml", HEAD + "targets:\n  t0: {rule: command, command: [x]}\n" + rows)
    done = run_limited(project, ["check", "many.yaml"], seconds=10)
    assert done.code == 0, done


def test_a_long_cycle_is_shown_short(project):
    rows = "".join(f"  t{n}: {{rule: directory, path: p{n}, needs: [t{(n + 1) % 5000}]}}\n" for n in range(5000))
    project.write("bad.yaml", HEAD + "targets:\n" + rows)
    done = run_limited(project, ["check", "bad.yaml"], seconds=10)
    assert done.code == 65 and "E0201" in done.err and len(done.err) < 100_000, done.err[:2000]


def test_the_shipped_manifests_are_none_of_these(project):
    done = project.run("check", *sorted((REPOSITORY / "manifests").glob("*.yaml")))
    assert done.code == 0, done
