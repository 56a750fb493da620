#include "fault.h"

#include <strings.h>

#define USAGE STATUS_USAGE, CLASS_NONE
#define MANIFEST STATUS_MANIFEST, CLASS_NONE
#define INFEASIBLE STATUS_INFEASIBLE, CLASS_INFEASIBLE
#define HOST STATUS_HOST, CLASS_HOST
#define FAILED STATUS_FAILED, CLASS_NONE
#define ADVICE STATUS_OK, CLASS_NONE

static const struct fault_row rows[FAULT_COUNT] = {
	[FAULT_NONE] = { "E0000", STATUS_OK, CLASS_NONE, "nothing is wrong", "This code is never reported." },

	/* E00: usage */
	[FAULT_USAGE] = {
		"E0001", USAGE, "the command line cannot be understood",
		"An option is unknown, lacks its value, or may not stand beside another one; or there are more words "
		"than the command takes. Nothing was read and nothing was changed. Commands are never abbreviated, "
		"and an option is never guessed, so that a script means the same in a year.\n"
		"\n"
		"`provision COMMAND --help` lists what the command takes. Words behind `--` are never options, which "
		"helps with names that begin with `-`:\n"
		"\n"
		"  provision plan manifests/tp4.yaml -- weights\n",
	},
	[FAULT_NO_SUCH_TARGET] = {
		"E0002", USAGE, "the manifest has no such target",
		"A target was named on the command line, by position, `--target`, `--exclude` or `--replace`, and "
		"the manifest has none of that name. A shell pattern that matches no target is refused the same way: "
		"doing nothing in silence would look like success. `provision graph MANIFEST` lists the targets. "
		"Quote a pattern, or the shell replaces it by file names first:\n"
		"\n"
		"  provision apply manifests/tp4.yaml --target 'w*'\n",
	},

	/* E01: manifest */
	[FAULT_SYNTAX] = {
		"E0101", MANIFEST, "the manifest is not valid YAML",
		"The text cannot be read as YAML, so nothing of it was believed. The place is where the reader gave "
		"up; the mistake is there or a few lines before it. The usual causes are a tab used for indentation, "
		"a missing space behind a colon, a quote that is not closed, and a value that begins with `{`, `[`, "
		"`*`, `&`, `!`, `%` or `@` and needs quotes. Tags other than those of the core schema are refused, "
		"and so is a second document in the file.\n"
		"\n"
		"  name: tp3        # right\n"
		"  name:tp3         # wrong: one word, no key\n",
	},
	[FAULT_UNKNOWN_KEY] = {
		"E0102", MANIFEST, "unknown key",
		"A key stands where no key of that name is known. It is refused and never ignored, because a "
		"misspelled `timeout` that is dropped in silence is found only hours later. `provision rules NAME` "
		"lists the parameters of a rule. Notes of your own may stand at the top level under keys that begin "
		"with `x-`.",
	},
	[FAULT_BAD_VALUE] = {
		"E0103", MANIFEST, "a value of the wrong type, or out of range",
		"The key is known, but its value is not what it takes. Sizes carry a unit (`80GiB` is 80 times 2^30 "
		"bytes, `80GB` is 80 times 10^9), durations too (`90s`, `15m`, `1h30m`). Scalars follow YAML 1.2: "
		"booleans are `true` and `false`, while `yes`, `no` and `on` are text. A number that is meant as "
		"text needs quotes: the version `\"0.10\"`, without them, is the number 0.1. `provision rules NAME` "
		"shows the type and range of each parameter.",
	},
	[FAULT_MISSING_KEY] = {
		"E0104", MANIFEST, "a required key is missing",
		"The rule of this target cannot work without the key that is named. The place shown is the target's "
		"name, since the key itself has none. A required key may also come from the manifest that this one "
		"extends; a `null` in the extending manifest removes what the extended one had, which is the usual "
		"reason when the key seems to be there. `provision rules NAME` marks what is required.",
	},
	[FAULT_DUPLICATE_KEY] = {
		"E0105", MANIFEST, "a key stands twice in one map",
		"The same key is written twice in one map. Most YAML readers take the last and drop the first "
		"without a word, so half of the file would have no effect; here both places are shown instead. "
		"Remove one of them. To override a value of an extended manifest, write the key once in the "
		"extending file.",
	},
	[FAULT_TOO_LARGE] = {
		"E0106", MANIFEST, "over a limit of the reader",
		"A file or value is larger, or nested deeper, than the reader accepts. A manifest has at most 64 MiB, "
		"64 levels of nesting, 16 files that extend each other and 4 million nodes after aliases; a file "
		"that a manifest names has limits of its own, which the message gives. The limits keep a hostile or "
		"broken file from using up the memory of the host: ten lines of nested aliases can stand for "
		"billions of nodes. A real manifest of 100,000 targets is far below them. Split the file, or "
		"generate less.",
	},
	[FAULT_ENCODING] = {
		"E0107", MANIFEST, "not valid UTF-8, or a character that may not stand there",
		"Manifests are UTF-8. The place names the first byte that is not, or a control character that YAML "
		"forbids. Files that come from Windows editors are often UTF-16 or GBK:\n"
		"\n"
		"  iconv -f GBK -t UTF-8 old.yaml > new.yaml\n"
		"\n"
		"A file that is right everywhere else and wrong in one place was usually cut in the middle of a "
		"character, or damaged in transit.",
	},
	[FAULT_FORMAT_VERSION] = {
		"E0108", MANIFEST, "a format version that this program does not know",
		"The first key of a manifest is `provision:`, the version of its format. This program knows version "
		"1. A larger number means that the manifest was written for a newer program, whose keys this one "
		"might misunderstand, so it is refused as a whole. Install the newer version, or use the manifest of "
		"the matching release. `provision version` says what this one is.",
	},
	[FAULT_UNKNOWN_RULE] = {
		"E0109", MANIFEST, "unknown rule",
		"`rule:` says what kind of thing a target is, and there is no kind of that name. The kinds are built "
		"in; nothing is loaded at run time. `provision rules` lists them, each with one line. For what none "
		"of them does there is `command`, which runs a program with declared inputs and outputs.",
	},
	[FAULT_UNDEFINED] = {
		"E0110", MANIFEST, "a reference to something that nothing defines",
		"`${name}` refers to a var of this manifest or of one that it extends, `${env.NAME}` to an "
		"environment variable, and `${target.output}` to an output of another target. Nothing of the given "
		"name exists; an environment variable that is not set counts as undefined, not as empty. Define it "
		"under `vars:`, pass it with `--set NAME=VALUE`, or correct the spelling. For a literal `${` write "
		"`$${`.",
	},
	[FAULT_REFERENCE] = {
		"E0111", MANIFEST, "a reference that cannot be resolved",
		"Either the text between `${` and `}` is not a reference (there are three forms only: `${var}`, "
		"`${env.NAME}` and `${target.output}`, without operators, defaults or nesting), or vars refer to "
		"each other in a circle, so that none of them has a value. A list or map can be referred to only "
		"where the reference is the whole value, since it has no form as part of a text:\n"
		"\n"
		"  gpus: ${gpus}            # right: stays a list\n"
		"  name: \"on-${gpus}\"       # wrong: a list inside a text\n",
	},
	[FAULT_EXTENDS] = {
		"E0112", MANIFEST, "the manifest that is extended cannot be used",
		"`extends:` names a file that itself leads back to this one, or that is not a manifest, or the chain "
		"is longer than 16 files. Paths are relative to the file that they are written in, not to the "
		"working directory. A chain is fine: maps merge key by key from the outermost file inwards, scalars "
		"and lists replace, `null` removes. A circle has no outermost file; take one `extends:` away, and "
		"move what both need into a third manifest.",
	},
	[FAULT_BAD_NAME] = {
		"E0113", MANIFEST, "a name that is not allowed",
		"Names of targets match `[a-z][a-z0-9_-]{0,62}`, the deployment's name `[a-z0-9][a-z0-9._-]{0,62}`. "
		"They become parts of file names, container names, labels and log lines, where other characters "
		"would need quoting by everyone who reads them, and where some systems ignore case. Use lower case, "
		"digits and `-`; what is meant for people goes into `description:`.",
	},
	[FAULT_SECRET_IN_TEXT] = {
		"E0114", MANIFEST, "a secret stands in the manifest",
		"The value looks like a token or a private key. Manifests are copied, committed, quoted in "
		"diagnostics and recorded, so a secret in one is a secret no more; this program refuses to read on "
		"rather than to spread it. A manifest names a secret, and the value stays in the environment or in a "
		"file that only you can read:\n"
		"\n"
		"  token: {env: HF_TOKEN}\n"
		"  token: {file: /home/li/.config/hf-token}     # mode 0600\n"
		"\n"
		"If the manifest was shared or committed already, revoke the token where it was issued: removing it "
		"from the file does not remove it from the history.",
	},
	[FAULT_CONFLICT] = {
		"E0115", MANIFEST, "parameters that do not go together",
		"Two parameters exclude each other (an `image` is either built from a `context` or pulled `from` a "
		"registry), or one says nothing without another that is absent. Guessing which of the two was meant "
		"would do the wrong thing half of the time. Remove one, or add the other; where the two come from "
		"different files of an `extends:` chain, `null` removes what the extended manifest had:\n"
		"\n"
		"  targets: {image: {context: null, from: \"vllm/vllm-openai:v0.12.0\"}}\n",
	},
	[FAULT_FALLBACK] = {
		"E0116", MANIFEST, "the fallback cannot be used",
		"A manifest that `fallback:` names does not exist, has another `name:` than this one, or leads back "
		"to one that was tried already. A fallback is another shape of the same deployment, which is why the "
		"names must be equal: else applying it would leave the first one's services behind. `on:` takes the "
		"words `infeasible`, `host`, `out_of_memory`, `start_failed` and `not_accepted`; without it "
		"`infeasible` alone. A network failure never leads to a fallback, since it would fail there as well.",
	},

	/* E02: graph */
	[FAULT_CYCLE] = {
		"E0201", MANIFEST, "the targets form a cycle",
		"Each of the targets in the circle needs the next one, so that none can be the first. The shortest "
		"circle is shown, each edge with its place. Edges come from `needs:`, from references to another "
		"target's outputs, and from input files that another target makes. Often one of them is not needed: "
		"a reference to a plain parameter, such as a path, can be replaced by a var that both targets share, "
		"which makes no dependency.",
	},
	[FAULT_UNKNOWN_TARGET] = {
		"E0202", MANIFEST, "`needs` names a target that does not exist",
		"A target is needed that this manifest does not have. Perhaps it was renamed, or removed by a `null` "
		"in an extending manifest while another target still needs it. `provision graph MANIFEST` lists what "
		"there is. Names are compared exactly, and `-` and `_` are different.",
	},
	[FAULT_UNKNOWN_OUTPUT] = {
		"E0203", MANIFEST, "the target has no such output",
		"`${target.output}` names a target that exists, but its rule makes no output of that name. "
		"`provision rules NAME` lists the outputs of a rule; a `model` for instance has `dir`, `source`, "
		"`commit`, `digest`, `files` and `size`. Parameters are not outputs, even though some outputs repeat "
		"one: a value that two targets need is best kept in `vars:`.",
	},
	[FAULT_TWO_MAKERS] = {
		"E0204", MANIFEST, "two targets make the same thing",
		"Two targets write the same path, tag the same image or listen on the same port. Whichever ran last "
		"would win, each would find the other's work and redo its own, and a plan could never say \"nothing "
		"to do\". Give one of them another path, tag or port. A service with replicas takes the ports from "
		"`port` upwards, one for each.",
	},

	/* E03: inputs */
	[FAULT_NOT_FOUND] = {
		"E0301", STATUS_NO_INPUT, CLASS_NONE, "a file that is needed does not exist",
		"A manifest, or a file that a manifest names as an input, is not there, and no target of this "
		"manifest makes it. Paths are relative to the file that they are written in, not to the working "
		"directory, and not to the manifest that extends it. A symbolic link that leads nowhere counts as "
		"missing. If another target is to make the file, name exactly the same path there: that also makes "
		"the dependency.",
	},
	[FAULT_INPUT_CHANGED] = {
		"E0302", STATUS_FAILED, CLASS_NONE, "an input changed while it was being used",
		"Inputs are digested before a build and looked at again after it. One of them has another size, time "
		"or inode now, so nobody can say which of its two contents went into the product. The product is not "
		"recorded, and the next run builds it again. Save your edits, wait for whoever writes there (an "
		"editor, a sync client, a generator), then run the same command. If a build writes into its own "
		"inputs, write to an output path instead.",
	},
	[FAULT_CHECKSUM_LIST] = {
		"E0303", STATUS_MANIFEST, CLASS_NONE, "the checksum list cannot be used",
		"The file named by `checksums:` (or the `SHA256SUMS` of a mirror) is not in the form that "
		"`sha256sum` writes: 64 hexadecimal digits, two spaces or a space and `*`, then a name. Also refused "
		"are a name that stands twice with different digests, and a name that would lead out of the "
		"directory. The list decides what is believed about every byte of the weights, so no line of it is "
		"skipped. Make it anew where the files are known to be good:\n"
		"\n"
		"  sha256sum *.safetensors *.json > SHA256SUMS\n",
	},
	[FAULT_UNSAFE_DIRECTORY] = {
		"E0304", STATUS_PERMISSION, CLASS_NONE, "a directory that others control",
		"The directory belongs to another user, or everybody may write to it and no sticky bit protects what "
		"lies in it, or the way to it leads through another user's symbolic link. Whoever controls it could "
		"exchange files between the moment they are verified and the moment they are used, or lead a write "
		"somewhere else. Use a directory of your own, or take the permission away:\n"
		"\n"
		"  chmod o-w DIR\n"
		"\n"
		"With the sticky bit (`chmod +t`) everybody may write there and nobody can remove or replace the "
		"files of others: such a directory is accepted.",
	},

	/* E04: feasibility */
	[FAULT_INFEASIBLE] = {
		"E0401", INFEASIBLE, "this shape cannot run this model",
		"A model is split over GPUs by dividing its layers' dimensions: attention heads, key-value heads, "
		"the feed-forward width and the padded vocabulary. Tensor parallelism of N needs each of them to "
		"divide by N (fewer key-value heads than N are repeated, if N divides by their number). With 32 "
		"attention heads, a size of 3 cannot start, on no hardware and with no setting; vLLM would say so "
		"too, but only after the weights were fetched and the container was started.\n"
		"\n"
		"This was decided from `config.json` alone, a few kilobytes. The message lists every dimension that "
		"fails and the sizes that work. Choose one of them, or split by layers instead (`pipeline_parallel`, "
		"which has no such rule), or run several smaller instances (`replicas`). A feasible manifest named "
		"under `fallback:` is taken by itself.\n"
		"\n"
		"  fallback: tp4.yaml\n",
	},
	[FAULT_MEMORY] = {
		"E0402", INFEASIBLE, "the model does not fit the memory of the GPUs",
		"Each GPU must hold its part of the weights, the activations of the largest batch and the key-value "
		"cache of at least one request of full length, within `gpu_memory_utilization` (0.9) of its memory. "
		"The sum is larger, and the message shows its parts. Every one of them can be changed: more GPUs "
		"divide the weights, a smaller `max_model_len` the cache, a smaller `max_num_seqs` and fewer or no "
		"videos in `limit_mm_per_prompt` the activations; a quantised checkpoint halves or quarters the "
		"weights. Note that beyond one GPU for each key-value head the cache does not shrink any further, "
		"since the heads are repeated. The message names the shapes that fit, if there are any.",
	},
	[FAULT_TOO_FEW_GPUS] = {
		"E0403", INFEASIBLE, "more GPUs are asked for than there are",
		"The shape needs tensor parallel size times pipeline parallel size times replicas GPUs, and the list "
		"`gpus:` or the machine has fewer; GPUs under `reserve:` do not count. vLLM would end with \"cannot "
		"be larger than the number of available GPUs\". Name more GPUs, lower one of the three factors, or "
		"give up the reservation in the manifest. Inside a container GPUs are counted anew from 0, so a "
		"`CUDA_VISIBLE_DEVICES` with the numbers of the host hides them: leave it unset.",
	},
	[FAULT_MODEL_UNKNOWN] = {
		"W0404", ADVICE, "the model's configuration does not say enough",
		"`config.json` lacks a number that the check needs, or is of an architecture that is not in the "
		"table, so the question whether the shape works was not answered. The check does not guess: an "
		"absent key is unknown, neither right nor wrong. The run goes on, and vLLM has the last word when "
		"the service starts. To have the answer before that, let the check ask the image's own Transformers "
		"(`in_image:`), or compare with a model whose configuration is complete.",
	},
	[FAULT_RESERVED_GPU] = {
		"E0405", INFEASIBLE, "a reserved GPU is asked for",
		"`reserve:` names GPUs that no target of this manifest may use, and a target lists one of them, or "
		"asks for more GPUs than are left. The reservation is a promise to whoever else works on this "
		"machine, so it is kept even where the card is idle at the moment. Take other GPUs, choose a shape "
		"that needs fewer, or remove the number from `reserve:` in this manifest, as a fallback manifest may "
		"do on purpose:\n"
		"\n"
		"  reserve: {gpus: []}\n",
	},
	[FAULT_TIGHT] = {
		"W0406", ADVICE, "the model fits, with little to spare",
		"By arithmetic the shape fits, but less memory is left than the margin of error of the estimate: "
		"activations, the growth of the CUDA context and the buffers of NCCL are estimated, not measured. A "
		"desktop session or another small process on the same card can be enough to make the start fail. "
		"Lower `max_model_len`, `max_num_seqs` or the number of images and videos per prompt, raise "
		"`gpu_memory_utilization` a little, or use one more GPU. `tight: fail` turns this warning into a "
		"refusal.",
	},
	[FAULT_MODEL_CODE] = {
		"W0407", ADVICE, "the repository asks for its own code to be run",
		"A JSON file of the repository has an `auto_map`, or there are Python files in it. With "
		"`trust_remote_code` such code runs with all rights of the server, and versions of vLLM are known "
		"that ran it even without (CVE-2025-66448, CVE-2026-22807 and CVE-2026-27893, fixed in 0.11.1, "
		"0.14.0 and 0.18.0). These files are not fetched unless the target says `allow_code: true` and pins "
		"a commit. Most models need none of it, since vLLM has an implementation of its own. If you do allow "
		"it, read the code at exactly that commit first.",
	},
	[FAULT_QUANTISED] = {
		"W0408", ADVICE, "the quantisation may refuse this shape",
		"Quantised weights are stored in groups (often of 128 values), and kernels work on blocks. After the "
		"split over GPUs each part must still be a whole number of groups; 13696 divides by 128, while half "
		"of it does not. Whether vLLM refuses, or takes another kernel, depends on its version and on the "
		"card, so this is a warning and no proof. If the start fails with \"not aligned with the quantized "
		"weight shape\", use a smaller tensor parallel size, a checkpoint with smaller groups, or the "
		"unquantised one.",
	},
	[FAULT_IMAGE_DISAGREES] = {
		"E0409", INFEASIBLE, "the transformers of the image reads another model out of config.json",
		"`in_image` puts the question of the preflight to the image's own transformers as well: `AutoConfig` "
		"reads the same config.json in a container without a network, and with `trust_remote_code` off. Either "
		"it gave other numbers than this program reads (heads, layers, sizes), and then the shapes that were "
		"computed may not be the ones that the server will find; or it does not know the type of the model, "
		"and then the server cannot start. The message has both numbers, or the library's words.\n"
		"\n"
		"Use an image whose transformers was made for this model: a newer one, or a Dockerfile that pins it. A "
		"type that vLLM has a class of its own for is not refused. If you are sure that the image is wrong "
		"about itself, leave `in_image` out.",
	},
	[FAULT_IMAGE_UNASKED] = {
		"W0410", ADVICE, "the transformers of the image could not be asked",
		"`in_image` names an image that has no `python3` or no transformers, or whose transformers does not "
		"read this config.json for another reason than the type of the model: it may want the repository's own "
		"code, for instance. The verdict stands as it does without `in_image`: computed from config.json. Name "
		"the image that will serve the model, or leave the parameter out.",
	},

	/* E05: host */
	[FAULT_NO_DRIVER] = {
		"E0501", HOST, "no NVIDIA driver answers",
		"The driver's library `libnvidia-ml.so.1` cannot be loaded, or it finds no driver in the kernel. "
		"Without it no GPU can be used, in a container or outside. Run `nvidia-smi`: if it is missing, the "
		"driver is not installed; if it speaks of a \"Driver/library version mismatch\", the packages were "
		"upgraded while the old kernel module is still loaded, and a reboot repairs it; if it \"couldn't "
		"communicate with the NVIDIA driver\", the module was not built for the running kernel. All of this "
		"is the administrator's to do. Inside a container it means that the container was started without "
		"GPUs.",
	},
	[FAULT_GPU_COUNT] = {
		"E0502", HOST, "fewer GPUs than asked for",
		"The `host` check wants more GPUs than the driver reports. Compare `nvidia-smi -L` with `lspci | "
		"grep -i nvidia`: a card that the bus shows and the driver does not has fallen off (\"GPU is lost\", "
		"Xid 79 in the kernel's log) and usually comes back with a reboot; heat, power and a loose riser are "
		"the common causes. If the machine never had more, lower `gpus: {count: N}` in the manifest and "
		"choose a shape for that number.",
	},
	[FAULT_GPU_KIND] = {
		"E0503", HOST, "a GPU of another kind than asked for",
		"A GPU has another name or less memory than the `host` check wants. The shape of the deployment was "
		"computed for certain cards; on smaller ones it may not fit, and where unlike cards work together "
		"the weakest decides. Memory is compared with what the driver reports, which is a little less than "
		"what the box says: a card of \"24 GB\" has 24576 MiB. Select the right cards under `gpus:`, or "
		"adapt the check and the shape to the machine.",
	},
	[FAULT_DRIVER_VERSION] = {
		"E0504", HOST, "the NVIDIA driver is too old",
		"The manifest asks for a newer driver than is installed. Each version of CUDA needs a driver of a "
		"certain age, and the newest one that a driver supports stands in the corner of `nvidia-smi`; CUDA "
		"12.9 came with the branch 575. GeForce cards have no forward compatibility, so an old driver cannot "
		"run a newer image on them. The administrator installs a newer driver and reboots. Without that, use "
		"an image built on an older CUDA.",
	},
	[FAULT_CUDA_VERSION] = {
		"E0505", HOST, "the driver does not support the CUDA of the image",
		"An image declares the CUDA that it needs (`NVIDIA_REQUIRE_CUDA`), and the driver offers less; the "
		"container would end at its start with \"unsatisfied condition: cuda>=...\". The image "
		"`vllm/vllm-openai:v0.12.0` is built on CUDA 12.9. Have the driver updated, or use an image built on "
		"an older CUDA. `NVIDIA_DISABLE_REQUIRE=1` in the service's `env:` switches the check off; within "
		"one major version that often works, and it is yours to test.",
	},
	[FAULT_GPU_BUSY] = {
		"E0506", HOST, "a GPU is in use",
		"A GPU that the manifest wants for itself holds memory of another process. vLLM takes a share of the "
		"whole memory at its start (0.9 of it by default) and refuses if that much is not free. The message "
		"names the processes that the driver shows; those of other users and of other containers may appear "
		"without a name. Nothing is killed that this program did not start. Ask their owner, wait, or choose "
		"other GPUs. If no process is shown and the memory stays taken, a worker of an ended server may be "
		"left: `nvidia-smi` and `fuser -v /dev/nvidia*` help to find it.",
	},
	[FAULT_DISK] = {
		"E0507", HOST, "not enough free disk space",
		"The file system has less room than the manifest asks for, or than the plan would fill. Weights, the "
		"container image and the cache may lie on different file systems; the message names the one that is "
		"short. Images lie under the engine's root directory (`docker info` shows it), which is often the "
		"small system disk. Free some space, let the administrator move the engine's root, or point the "
		"directories of the manifest somewhere else. Logs of old runs, under `.provision/logs`, may be removed "
		"by hand.",
	},
	[FAULT_PORT] = {
		"E0508", HOST, "a port is in use",
		"Something listens on a port that the manifest wants. vLLM binds its port so that a second server "
		"may share it (SO_REUSEPORT), and then requests reach one or the other by chance; hence this check "
		"before anything is started. Who it is:\n"
		"\n"
		"  ss -ltnp 'sport = :8000'\n"
		"\n"
		"Choose another port (`--set port=8001` with the manifests that ship), or stop the other program if "
		"it is yours. A service of an earlier run of this deployment is recognised and does not count.",
	},
	[FAULT_HUB_UNREACHABLE] = {
		"E0509", HOST, "a hub cannot be reached from this host",
		"The `host` check asks each hub for its front door, and this one gave no answer. Usual causes are a "
		"firewall, a proxy that is not set, or a hub that is blocked in the country. Proxies are read from "
		"`HTTPS_PROXY` and `NO_PROXY`. Where huggingface.co is out of reach, use ModelScope, or a mirror "
		"through `HF_ENDPOINT`; the bytes are verified by their digests, whoever serves them. Weights can "
		"also be carried by disk: a source may be a local directory.",
	},
	[FAULT_NO_COMMAND] = {
		"E0510", HOST, "a program is missing",
		"A program that the manifest needs is not found in the search path of the target (its `env: PATH`, "
		"else `/usr/local/bin:/usr/bin:/bin`). The path of your shell is not used, so that a run by cron "
		"finds the same programs as a run by hand. Install it, name it with its absolute path, or set `PATH` "
		"under the target's `env:`. Images are built by the `docker` or `podman` command, which a machine "
		"with a bare engine socket may lack.",
	},
	[FAULT_NO_ENGINE] = {
		"E0511", STATUS_UNAVAILABLE, CLASS_HOST, "no container engine answers",
		"Neither Docker nor Podman answers on its socket. The message names the socket and where its name "
		"came from (`DOCKER_HOST`, a context, or the default). \"No such file\" means that no engine runs; "
		"\"connection refused\" that one has crashed and left its socket; \"permission denied\" that you are "
		"not in the group `docker`. That group is equal to root on this host, so ask for it with care: "
		"rootless Docker or Podman need no such rights.\n"
		"\n"
		"  systemctl status docker\n"
		"  systemctl --user start podman.socket\n",
	},
	[FAULT_ENGINE_GPUS] = {
		"E0512", HOST, "containers cannot see the GPUs",
		"The host's driver works and the container engine works, but the engine does not know how to hand "
		"GPUs to a container: the NVIDIA Container Toolkit is missing or not registered. A container that "
		"asks for GPUs would end with \"could not select device driver\" or start without any.\n"
		"\n"
		"The rest of this text is meant for the administrator of the machine.\n"
		"\n"
		"Users on this host want to run containers with GPU access. Please install the package "
		"`nvidia-container-toolkit` (from NVIDIA's repository: "
		"https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html) and "
		"register it with the engine. For Docker:\n"
		"\n"
		"  sudo nvidia-ctk runtime configure --runtime=docker\n"
		"  sudo systemctl restart docker\n"
		"\n"
		"The first command adds a runtime to /etc/docker/daemon.json; the second one restarts the daemon, "
		"which stops running containers unless `live-restore` is set, so please choose a suitable time. For "
		"Podman, or for Docker 25 and later with CDI, a device specification is needed instead, and again "
		"after each change of the driver:\n"
		"\n"
		"  sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml\n"
		"\n"
		"Docker installed as a snap cannot see the driver; please use the distribution's or Docker's own "
		"packages. No user needs root rights for any of this afterwards. The test, which should list all "
		"GPUs:\n"
		"\n"
		"  docker run --rm --gpus all nvidia/cuda:12.4.1-base-ubuntu22.04 nvidia-smi -L\n"
		"  podman run --rm --device nvidia.com/gpu=all docker.io/nvidia/cuda:12.4.1-base-ubuntu22.04 nvidia-smi -L\n",
	},
	[FAULT_ENGINE_VERSION] = {
		"E0513", HOST, "the container engine is too old, or too new",
		"The engine and this program have no version of the API in common, or the manifest asks for a newer "
		"engine. Docker from 20.10 (API 1.41) on is supported; an engine that refuses 1.44 as too old is "
		"newer than this program. Podman hands GPUs to containers through this API from 5.5 on; older ones "
		"ignore the request without a word. The administrator updates the engine; `docker version` shows "
		"both sides.",
	},
	[FAULT_P2P] = {
		"E0514", HOST, "the GPUs cannot reach each other's memory",
		"The manifest asks for peer-to-peer access (`p2p: true`), and the driver says that a pair of these "
		"GPUs has none. GeForce cards have it only over an NVLink bridge; elsewhere the settings of the "
		"IOMMU or of PCIe access control may forbid it. It is not needed: NCCL then goes through shared "
		"memory, which is slower and wants a large `/dev/shm` (`shm_size`). Remove the condition, choose a "
		"bridged pair of GPUs, or prefer pipeline to tensor parallelism, which exchanges far less. "
		"`nvidia-smi topo -m` shows the links.",
	},
	[FAULT_HOST_IN_LOG] = {
		"E0515", HOST, "the service's log shows that the host is not fit",
		"The service ended, and what it wrote last is known to come from the host and not from the model or "
		"its settings: a driver that is too old for the image, a library that does not match the kernel "
		"module, a GPU of a generation that the image was not built for, a full disk, or an engine that "
		"could not hand over the GPUs. The line is quoted in the message, together with its remedy. Another "
		"shape of the same deployment would most likely fail as well; repair the host first. `provision logs "
		"TARGET` shows all of the log.",
	},

	/* E06: network and hubs */
	[FAULT_NETWORK] = {
		"E0601", STATUS_UNAVAILABLE, CLASS_NONE, "the network failed",
		"A server could not be reached, or the connection broke, and further attempts with growing pauses, "
		"at every source that the target names, did not help. What had arrived is kept: the next run goes on "
		"from there, so running the same command again is always right. If it fails at once each time, look "
		"at the name (DNS), the proxy (`HTTPS_PROXY`, `NO_PROXY`), the clock (certificates) and the "
		"firewall. A certificate that cannot be verified is never ignored; a private authority is made known "
		"with `SSL_CERT_FILE`. `mirrors:` gives a target more places to ask. A connection on which next to "
		"nothing comes for 30 s is given up and asked for again; a line that is slower, or a run that cannot "
		"wait, sets `PROVISION_STALL_TIMEOUT=2m`, and `PROVISION_RETRY_PAUSE=5s` for the first pause (1 s).",
	},
	[FAULT_HUB_NOT_FOUND] = {
		"E0602", STATUS_NO_INPUT, CLASS_NONE, "the hub has no such repository, revision or file",
		"The hub answered that what was asked for does not exist. Names are case-sensitive, and the same "
		"model often has another owner on another hub: `zai-org/AutoGLM-Phone-9B` on Hugging Face is "
		"`ZhipuAI/AutoGLM-Phone-9B` on ModelScope. The default branch is `main` on one and `master` on the "
		"other. A private repository looks the same as a missing one to whoever shows no token. Open the "
		"address in the message in a browser to see what the hub has.",
	},
	[FAULT_HUB_DENIED] = {
		"E0603", STATUS_PERMISSION, CLASS_NONE, "the hub refuses access",
		"The hub answered 401 or 403. Either no token was sent, or it is wrong or expired, or it may not "
		"read this repository; for a gated model you must also have accepted its terms on the hub's page, "
		"signed in as the owner of the token. Hugging Face answers 401 for repositories that do not exist as "
		"well, if no token is sent: check the spelling first. Name the token, never write it down:\n"
		"\n"
		"  token: {env: HF_TOKEN}\n"
		"\n"
		"A refusal is not tried again, since more attempts would only lock the account.",
	},
	[FAULT_RATE_LIMIT] = {
		"E0604", STATUS_UNAVAILABLE, CLASS_NONE, "the hub asks to wait",
		"The hub answered 429, too many requests, and the time that it wants to pass is longer than a run "
		"waits. Requests without a token are counted by address, so everybody behind the same proxy or "
		"campus shares one allowance. A token raises the limit, a mirror has one of its own, and later is "
		"fine too: what was fetched is kept.",
	},
	[FAULT_PROTOCOL] = {
		"E0605", STATUS_UNAVAILABLE, CLASS_NONE, "an answer that makes no sense",
		"A server's answer is not what its protocol says: no JSON where JSON belongs, a duplicate key, "
		"nesting without end, a range of other bytes than asked for, a size that contradicts the listing, or "
		"a page of HTML in place of data. A login page of a captive portal or of a company's proxy is the "
		"most frequent cause: open the address in the message in a browser on this machine. Nothing of the "
		"answer was used. If it persists with a direct connection, the hub has changed or is broken; a "
		"mirror may help meanwhile.",
	},
	[FAULT_DIGEST] = {
		"E0606", STATUS_FAILED, CLASS_NONE, "the bytes do not have the expected digest",
		"A file was fetched completely and its SHA-256 (or git blob id) is not the one that the manifest, "
		"the checksum list or the hub pins; or no source had a file with the right one. The file was not "
		"given its final name, so nobody can use it by mistake. The message has both digests, the size and "
		"the source. Damaged in transit, by a caching proxy, a failing disk or bad memory: the next run "
		"fetches it again, from another source where there is one. The same wrong digest from two sources "
		"means that the pinned one is out of date: the author has replaced the file. Look at the "
		"repository's history before you accept the new one. Never take over a digest just because it is the "
		"one that arrived.",
	},
	[FAULT_HOSTILE_NAME] = {
		"E0607", STATUS_UNAVAILABLE, CLASS_NONE, "a listing has a name that is refused",
		"A hub, mirror or checksum list names a file that is absolute, contains `..`, a backslash, a control "
		"character or bytes that are no UTF-8, is too long or too deep, lies in a directory that belongs to "
		"tools (`.git`, `.cache`, `.provision`), or differs from another only in case. Such a name could "
		"write outside of the target's directory, or replace another file there. No honest repository needs "
		"one, so the whole snapshot is refused and not only that file. If you know the file and do not need "
		"it, `exclude:` leaves it out of the selection, and only what is selected is checked.",
	},
	[FAULT_NO_DIGEST] = {
		"E0608", STATUS_UNAVAILABLE, CLASS_NONE, "a file that nobody vouches for",
		"Neither the hub nor the manifest says what the bytes of this file should be, so they cannot be "
		"verified. The size alone proves nothing. ModelScope has files without a SHA-256 in its listing, and "
		"a plain web server has none at all. Give the digests yourself, from a place that you trust:\n"
		"\n"
		"  checksums: SHA256SUMS\n"
		"\n"
		"or name a source that has them, or leave the file out with `exclude:`.",
	},
	[FAULT_NO_SPACE] = {
		"E0609", STATUS_CANNOT_CREATE, CLASS_NONE, "no room for what is to be fetched",
		"The file system has less free space than the files need, with 5 % to spare; or it became full on "
		"the way, or a quota did. This is asked before the first byte where possible. What had arrived is "
		"kept, and the next run goes on from there once there is room: nothing needs to be removed by hand. "
		"Look at quotas too (`quota -s`): the disk may be empty and your share full.",
	},
	[FAULT_INSECURE] = {
		"E0610", STATUS_MANIFEST, CLASS_NONE, "a connection without encryption",
		"The address begins with `http://` and is not on this machine, or an encrypted address redirected to "
		"an unencrypted one. Anybody on the way could read the request, and change what a digest does not "
		"cover. Use `https://`. For a mirror in your own network, whose files are all pinned by digests, the "
		"target may say `insecure_http: true`. A token is never sent over such a connection.",
	},
	[FAULT_CODE_REFUSED] = {
		"E0611", STATUS_MANIFEST, CLASS_NONE, "files that would run code",
		"The selection has files that run as code when a server loads them: Python pickles (`*.bin`, `*.pt`, "
		"`*.pth`, `*.ckpt`, `*.pkl`), found by content as well as by name, or Python files. Whoever wrote "
		"them could do on this server whatever you can. Most repositories also have `*.safetensors`, which "
		"hold nothing but numbers; prefer those. If there is no other way and you trust the author, say "
		"`allow_pickle: true`, or `allow_code: true` with a pinned commit; the plan then shows it in words. "
		"No pattern in `include:` lifts this by itself.",
	},
	[FAULT_NOT_OURS] = {
		"E0612", STATUS_CANNOT_CREATE, CLASS_NONE, "something is in the way that this deployment did not make",
		"Where a target wants to put its product there is a file, directory, container or image of that name "
		"already, and no record says that it comes from here. It may be somebody's work, so it is neither "
		"used nor replaced. Move it away, or give the target another path, name or tag.",
	},
	[FAULT_NO_MATCH] = {
		"E0613", STATUS_NO_INPUT, CLASS_NONE, "a pattern that matches nothing",
		"A pattern under `include:`, `exclude:` or `inputs:` matches no file. It is an error because it "
		"nearly always is a mistake: a typing error in an `exclude:` fetches gigabytes that nobody wants, "
		"and one in `inputs:` makes a target that never notices a change. In patterns for hubs `*` also "
		"matches `/`, case matters, and a trailing `/` means everything below. In `inputs:` a `*` stays "
		"within one directory and `**` crosses them. Remove the pattern if the file is gone for good.",
	},
	[FAULT_OFFLINE] = {
		"E0614", STATUS_UNAVAILABLE, CLASS_NONE, "the network is needed, and `--offline` forbids it",
		"The target has to ask a hub or registry, and the run was started with `--offline` (or "
		"`PROVISION_OFFLINE=1`). What is on disk and recorded is used without asking; this is not, or it has "
		"never been resolved. Run once with the network, and the answer is recorded. Or carry the files over "
		"and name the directory as the source of the target.",
	},
	[FAULT_NOT_THERE] = {
		"E0615", STATUS_MISMATCH, CLASS_NONE, "what is there is not what the source has",
		"`provision adopt` takes over files that somebody else put in place, after it has compared every byte "
		"with the digests of their source; it never fetches one itself. The files named are missing, or have "
		"other bytes than the source says: a download that did not end, another revision, a file that was "
		"edited. What is right stays where it is. `provision apply` fetches the files that are missing; one with "
		"other bytes it does not replace, since it may be somebody's work: move it away first.",
	},

	/* E07: engine and image */
	[FAULT_ENGINE] = {
		"E0701", STATUS_UNAVAILABLE, CLASS_NONE, "the container engine failed",
		"The engine answered with an error, broke the connection, or sent something that its API does not "
		"allow. Its own words are in the message. The daemon may have been restarted, or be out of disk or "
		"memory; its log tells:\n"
		"\n"
		"  journalctl -u docker -n 50\n"
		"\n"
		"What this run had asked for carries its label, so that the next run finds it and cleans up. Run the "
		"same command again. An engine that is silent is waited for between half a minute and ten minutes, by "
		"what it was asked; `PROVISION_ENGINE_TIMEOUT=20s` sets a lower limit for all of it.",
	},
	[FAULT_BUILD] = {
		"E0702", STATUS_FAILED, CLASS_NONE, "the image could not be built",
		"`docker build` (or `podman build`) ended with an error. The last lines are shown, and `provision "
		"logs TARGET` has all of it. The cause is in the step named last: a package that does not exist in "
		"that version, a network that the build cannot reach, or a file that `.dockerignore` hides from the "
		"context. Layers that were finished are kept by the engine, so the next attempt starts at the step "
		"that failed. Pin versions in the Dockerfile: an unpinned `pip install --pre` builds today and "
		"breaks tomorrow.",
	},
	[FAULT_NO_IMAGE] = {
		"E0703", STATUS_FAILED, CLASS_NONE, "the image does not exist",
		"The registry or the engine has no image of that name, tag or digest; or the build said that it was "
		"done and left none. Check the spelling and the registry, and whether you are signed in (`docker "
		"login`) if the image is private: most registries deny what they do not want to show in the same "
		"words. Podman wants the whole name, `docker.io/vllm/vllm-openai:v0.12.0`. A builder in a container "
		"of its own keeps its images to itself: unset `BUILDX_BUILDER`.",
	},

	/* E08: service and validation */
	[FAULT_OPEN_PORT] = {
		"W0801", ADVICE, "a service that everybody can use",
		"The service listens on an address that other machines can reach, and no API key protects it. "
		"Whoever reaches the port can use the model, and see what the server's options let requests read. "
		"Ports that Docker publishes go past `ufw` and most other firewalls of the host. Listen on "
		"`127.0.0.1` and go through an SSH tunnel or a proxy, or pass a key:\n"
		"\n"
		"  env_from: [VLLM_API_KEY]\n"
		"\n"
		"If the network around is trusted, the warning can stay.",
	},
	[FAULT_NOT_READY] = {
		"E0802", STATUS_FAILED, CLASS_START_FAILED, "the service was not ready in time",
		"The service runs, but did not answer on its readiness path within `ready: timeout`. Loading tens of "
		"gigabytes from a slow disk and compiling for the first time take many minutes; the log shows how "
		"far it came. If it still made progress, give it more time, and keep vLLM's cache on a mount, so "
		"that the second start is quick. If it stood still with the GPUs busy, behind a line that names "
		"NCCL, its communication hangs: `NCCL_P2P_DISABLE=1` in `env:` helps on boards with broken "
		"peer-to-peer access. The service that ran before was put back.",
	},
	[FAULT_START] = {
		"E0803", STATUS_FAILED, CLASS_START_FAILED, "the service ended before it was ready",
		"The process or container ended while it was starting, and its log matches none of the causes that "
		"have a code of their own. The last lines are shown, and `provision logs TARGET` has all of it. Look "
		"for the first error and not for the last: vLLM ends every failure with \"Engine core initialization "
		"failed. See root cause above\". Frequent causes are an option that this version does not know, a "
		"Transformers that does not match (pin it in the Dockerfile), a wrong mount, and a `/dev/shm` that "
		"is too small (`shm_size: 8GiB`). The service that ran before was put back.",
	},
	[FAULT_NOT_ACCEPTED] = {
		"E0804", STATUS_FAILED, CLASS_NOT_ACCEPTED, "the service does not answer as expected",
		"The service is up, but an acceptance check failed: an answer lacks what was expected, repeats "
		"itself, is too short or too slow, or a check script ended with an error. Each expectation that "
		"failed is listed with what was found. Short or garbled answers at temperature 0 point to a wrong "
		"version of Transformers or to damaged weights (`provision audit verify --deep`); a count of prompt "
		"tokens that is too small shows that the image was not processed. The new service is not kept: the "
		"one that ran before is put back.",
	},
	[FAULT_PORT_HELD] = {
		"E0805", HOST, "another program holds the service's port",
		"The port was free when the plan was made, and taken when the service was to start. The message "
		"names the holder if it can be seen; a process of another user cannot without root. Nothing that is "
		"not ours is stopped.\n"
		"\n"
		"  ss -ltnp 'sport = :8000'\n"
		"\n"
		"Stop the other program if it is yours, or give the service another `port`.",
	},
	[FAULT_GPU_HELD] = {
		"E0806", HOST, "another process holds the service's GPU",
		"A GPU that the service needs was free when the plan was made, and is in use now; or the memory of "
		"an instance that was stopped did not come back within ten seconds, because a worker outlived its "
		"server. The message has the numbers of the processes, and their owners where they can be seen. "
		"Nothing that is not ours is killed. If the process is yours and useless, end it and run the same "
		"command again; else choose other GPUs.",
	},
	[FAULT_COMMAND] = {
		"E0807", STATUS_FAILED, CLASS_NONE, "a command failed",
		"The command of a target ended with another status than 0, or by a signal, or without having made "
		"what `outputs:` promises. Its last lines are shown; `provision logs TARGET` has the rest. It runs "
		"without a shell (unless `shell: true`), in `workdir`, with an environment that holds only what the "
		"manifest names: a command that works in your terminal and fails here usually needs a variable under "
		"`env:` or a program outside the standard path. Status 137 means killed, most often for lack of "
		"memory.",
	},
	[FAULT_TIME_LIMIT] = {
		"E0808", STATUS_FAILED, CLASS_NONE, "the target took longer than its limit",
		"`timeout:` of the target passed, and its work was ended: the process group got SIGTERM and, after "
		"the grace time, SIGKILL. Downloads and finished layers are kept, so the next run has less to do. "
		"Raise the limit if the work only is slow; look at the log if it stood still. `retries:` gives a "
		"target further attempts.",
	},
	[FAULT_OUT_OF_MEMORY] = {
		"E0809", STATUS_FAILED, CLASS_OUT_OF_MEMORY, "out of GPU memory",
		"The service ran out of GPU memory while it started. Where the log has no \"Model loading took\", "
		"the weights themselves do not fit: use more GPUs or a quantised checkpoint. Behind it, activations, "
		"the key-value cache or CUDA graphs are too large. What helps, in this order: disable what is not "
		"used (`limit-mm-per-prompt: {image: 10, video: 0}`, since vLLM reserves room for the largest video "
		"by default), lower `max-num-seqs` and `max-model-len`, add `enforce-eager: true`, set "
		"`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`. \"Free memory on device is less than desired\" "
		"means that another process is on the card: free it, or lower `gpu-memory-utilization`. `provision "
		"shapes MODEL` shows the arithmetic.",
	},
	[FAULT_NOT_STOPPED] = {
		"E0810", STATUS_FAILED, CLASS_NONE, "an instance could not be stopped",
		"A container or process of this deployment is still there after SIGTERM, the grace time and SIGKILL. "
		"A process in an uninterruptible wait (state D: a network file system that hangs, or a driver that "
		"does) cannot be ended by anybody until that wait is over. Nothing new was started in its place, so "
		"port and GPU stay as they are. `ps -o pid,stat,wchan -p PID` shows the state, `dmesg` often the "
		"reason. Where the driver hangs, only a reboot helps.",
	},
	[FAULT_SECRET_VISIBLE] = {
		"W0802", ADVICE, "a secret is handed over where others can read it",
		"The program can take its secret only from its environment (or from its command line), and there "
		"whoever may inspect the container, and root, can read it: `docker inspect`, `/proc/PID/environ`. "
		"Members of the group `docker` can. Where the program can read a file, prefer that: the file is made "
		"with mode 0400 in memory and goes away with the container. Otherwise use a key that is good for "
		"this service alone, and change it when somebody leaves.",
	},

	/* E09: database, lock, audit */
	[FAULT_LOCKED] = {
		"E0901", STATUS_TRY_AGAIN, CLASS_NONE, "another run holds the lock of this project",
		"One run at a time may change a project. The message says which one it is, who started it and since "
		"when. Wait for it, or let this run wait:\n"
		"\n"
		"  provision apply --lock-timeout 10m\n"
		"\n"
		"The lock belongs to the process and ends with it, however it ends, so there is nothing to unlock by "
		"hand, and removing the file would help nobody. `plan`, `status` and `audit` never wait.",
	},
	[FAULT_DATABASE] = {
		"E0902", STATUS_IO, CLASS_NONE, "the database cannot be used",
		"SQLite reports that the cache is damaged, is no database of this program, or cannot be read or "
		"written. It is never repaired or removed without being asked. Copy `.provision/` as a whole first, "
		"with its `-wal` file. If the disk was full or the file system is read-only, put that right and run "
		"the same command again. If the file is damaged, move `.provision/` away, and the next apply begins a "
		"new one: weights on disk that have the right digests are taken over and not fetched again, but the "
		"history is lost, and services that still run are nobody's any more: end them by hand. Look at the "
		"disk's health too (`dmesg`, `smartctl`).",
	},
	[FAULT_NO_LOCKS] = {
		"E0903", STATUS_IO, CLASS_NONE, "a file system without working locks",
		"The cache lies on a network file system where two machines could both believe that they hold the "
		"lock, and where SQLite's shared memory does not work; both would damage the records. Weights and "
		"all other products may lie there. Keep only the cache on a local disk:\n"
		"\n"
		"  provision apply --cache /var/tmp/li/cache.db\n"
		"\n"
		"or set `PROVISION_CACHE` once and for all.",
	},
	[FAULT_NEWER_DATABASE] = {
		"E0904", STATUS_IO, CLASS_NONE, "the database was written by a newer version",
		"The cache has a newer schema than this program knows, or belongs to another program. Reading it all "
		"the same might misunderstand it, and writing might destroy it, so it is left as it is. Use the "
		"newer `provision` (`provision version` says what this one is), or give this one a cache of its own "
		"with `--cache FILE`. Older caches are brought forward by themselves.",
	},
	[FAULT_IO] = {
		"E0905", STATUS_IO, CLASS_NONE, "reading or writing failed",
		"The system reported an error for a file or stream; its words and the path are in the message. "
		"\"Input/output error\" speaks of a failing disk or a network file system that went away: look at "
		"`dmesg`. \"Too many open files\" speaks of a limit: `ulimit -n`. After a failed write to disk "
		"nothing that was written since the last success is believed; it is read back or written anew by the "
		"next run. A full disk behind `>file` ends with this too.",
	},
	[FAULT_CANNOT_CREATE] = {
		"E0906", STATUS_CANNOT_CREATE, CLASS_NONE, "an output cannot be written",
		"A file or directory could not be made: the disk or your quota is full, the file system is "
		"read-only, or something else has the name, such as a file where a directory should be. The message "
		"names what is in the way. Nothing that existed was changed: new contents are written beside the old "
		"and renamed when they are complete. Make room, or move what is in the way, and run the same command "
		"again.",
	},
	[FAULT_PERMISSION] = {
		"E0907", STATUS_PERMISSION, CLASS_NONE, "not allowed",
		"The system denies access to a file, directory or device; or a secret is missing, empty, or kept in "
		"a file that others can read. Everything works without root in directories of your own: look at the "
		"owner and mode of the path in the message, and of each directory above it (`namei -l PATH`). A file "
		"with a secret must belong to you and be closed to others:\n"
		"\n"
		"  chmod 600 FILE\n"
		"\n"
		"A missing environment variable must be exported: `export HF_TOKEN=...` in the shell that starts the "
		"run, or better a file, which does not show in the environment.",
	},
	[FAULT_NO_RECORD] = {
		"E0908", STATUS_USAGE, CLASS_NONE, "nothing is recorded under that name",
		"The run, target, digest or key that was asked for does not appear in this cache. `provision audit "
		"log` lists the runs, `provision audit` the last result of each target. Perhaps the command looked "
		"at another project: `provision version --json` shows which cache is used and why, and `-C DIR` or "
		"`--cache FILE` chooses another. Records are never removed, so what is not there never happened here.",
	},
	[FAULT_DECLINED] = {
		"E0909", STATUS_DECLINED, CLASS_NONE, "the plan needs consent, and has none",
		"Something in the plan stops a running service, deletes data, or exceeds `limits:` of the manifest, "
		"and the answer was no, or nobody could be asked: no terminal, or `--no-input`. Nothing was changed. "
		"The list shows what needs consent and why. `--yes` gives it in advance, for scripts; `--target` and "
		"`--exclude` leave those targets out. Targets that only add need no consent.",
	},
	[FAULT_INTERRUPTED] = {
		"E0910", 130, CLASS_NONE, "interrupted",
		"The run got a signal (Ctrl-C, or the end of the session) and stopped at a safe point: children were "
		"ended, partial downloads kept, finished targets recorded. Run the same command again to go on; "
		"nothing that was finished is done twice. A run that should outlive the session is best started with "
		"`nohup`, or in `tmux`.",
	},
	[FAULT_MISMATCH] = {
		"E0911", STATUS_MISMATCH, CLASS_NONE, "what is there is not what was recorded",
		"A file, image, container or record differs from what this program wrote down when it made it. "
		"Somebody edited, replaced or removed it, or the disk did. The message names each thing with what "
		"was recorded and what is there. `provision plan` shows what `apply` would do about it: usually it "
		"fetches or builds just that part again. Broken hashes in the chain of records mean that the history "
		"itself was altered: compare with a head that was kept elsewhere (`provision audit verify --head "
		"SEQ:HASH`).",
	},
	[FAULT_INTERNAL] = {
		"E0999", STATUS_INTERNAL, CLASS_NONE, "a bug in this program",
		"Something happened that cannot happen. It is our fault and not yours. What was recorded is still "
		"true, and the next run starts from there. Please report it, with the run's id and the report file "
		"that the message names; it holds no tokens and nothing of your environment. The same command with "
		"`-vv` often shows more.",
	},
};

const struct fault_row *
fault_row(enum fault fault)
{
	return &rows[fault < FAULT_COUNT ? fault : FAULT_INTERNAL];
}

enum fault
fault_find(const char *code)
{
	for (enum fault fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++)
		if (strcasecmp(rows[fault].code, code) == 0)
			return fault;
	return FAULT_NONE;
}

const char *
failure_class_name(enum failure_class class)
{
	switch (class) {
	case CLASS_INFEASIBLE:
		return "infeasible";
	case CLASS_HOST:
		return "host";
	case CLASS_OUT_OF_MEMORY:
		return "out_of_memory";
	case CLASS_START_FAILED:
		return "start_failed";
	case CLASS_NOT_ACCEPTED:
		return "not_accepted";
	case CLASS_NONE:
		break;
	}
	return NULL;
}

/* The larger, the worse; 128 and above are signals. */
static int
weight(int status)
{
	static const struct {
		int status;
		int weight;
	} order[] = {
		{ STATUS_INTERNAL, 11 },     { STATUS_USAGE, 10 },        { STATUS_MANIFEST, 10 }, { STATUS_NO_INPUT, 10 },
		{ STATUS_INFEASIBLE, 9 },    { STATUS_HOST, 8 },          { STATUS_TRY_AGAIN, 7 }, { STATUS_DECLINED, 6 },
		{ STATUS_UNAVAILABLE, 5 },   { STATUS_CANNOT_CREATE, 4 }, { STATUS_IO, 4 },        { STATUS_PERMISSION, 4 },
		{ STATUS_FAILED, 3 },        { STATUS_MISMATCH, 2 },      { STATUS_FALLBACK, 1 },  { STATUS_CHANGES, 0 },
	};

	if (status >= 128)
		return 12;
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		if (order[i].status == status)
			return order[i].weight;
	return -1;
}

enum status
status_worse(enum status a, enum status b)
{
	return weight((int)b) > weight((int)a) ? b : a;
}
