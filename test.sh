#!/bin/sh
# Install what the tests need, build, and run them all: gcc and clang with warnings as errors, unit and end-to-end tests, and all of it again under ASan and UBSan;
# five seconds of fuzzing for each target.
# Builds lie under build-test/. Options go to the last ctest: ./test.sh -R cache
# ./test.sh --vllm [DIR]: instead of all that, build once and set the preflight and the main job beside vLLM 0.12 itself (tests/vllm); its environment of 8 GB is made in
# DIR, build-test/vllm if absent.
set -eu
cd "$(dirname "$0")"
scripts/packages.sh build
scripts/packages.sh test
jobs=$(nproc)
python=build-test/venv/bin/python
[ -x "$python" ] || python3 -m venv build-test/venv
"$python" -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt

# configure NAME OPTIONS...: configure and build below build-test/NAME, installed into build-test/NAME/prefix.
configure() {
	name=$1
	shift
	cmake -S . -B "build-test/$name" -G Ninja -DPROVISION_WERROR=ON -DPROVISION_PYTHON="$PWD/$python" \
		-DCMAKE_INSTALL_PREFIX="$PWD/build-test/$name/prefix" "$@" >"build-test/$name.configure.log"
	cmake --build "build-test/$name" --parallel "$jobs"
	cmake --install "build-test/$name" >/dev/null
}
if [ "${1:-}" = --vllm ]; then
	vllm=${2:-$PWD/build-test/vllm}
	tests/vllm/setup "$vllm"
	configure plain -DCMAKE_C_COMPILER=gcc
	PROVISION=$PWD/build-test/plain/prefix/bin/provision
	PROVISION_BUILD=$PWD/build-test/plain
	PYTHONDONTWRITEBYTECODE=1
	export PROVISION PROVISION_BUILD PYTHONDONTWRITEBYTECODE
	"$vllm/bin/python" tests/vllm/agree -o build-test/agree.json
	exec "$vllm/bin/python" -m pytest -q -s -p no:cacheprovider tests/vllm
fi
configure clang -DCMAKE_C_COMPILER=clang
configure sanitized -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DPROVISION_SANITIZE=address,undefined
configure plain -DCMAKE_C_COMPILER=gcc

tests/fire/fuzz/run --jobs "$jobs" --seed 1 5
ctest --test-dir build-test/sanitized --output-on-failure --parallel "$jobs"
ctest --test-dir build-test/plain --output-on-failure --parallel "$jobs" "$@"
