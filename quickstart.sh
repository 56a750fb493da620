#!/bin/sh
# From nothing to an accepted service on this machine: installs the packages to build with, builds, applies examples/quickstart, shows plan and audit.
# Needs no GPU, no Docker, no network beyond the package registry. Run it again at will; `build/provision destroy examples/quickstart/provision.yaml` ends it.
set -eu
cd "$(dirname "$0")"
scripts/packages.sh build
echo "building, about a minute"
cmake -S . -B build -DPROVISION_TESTS=OFF >/dev/null
cmake --build build --parallel "$(nproc)" >build/build.log || { tail -20 build/build.log; exit 1; }
ln -sf cli/provision build/provision
manifest=examples/quickstart/provision.yaml
show() {
	printf '\n$ provision %s\n' "$*"
	build/provision "$@"
}
show apply --yes "$manifest"
show plan "$manifest"
show audit
printf '\nAsk the service yourself:\n  curl http://127.0.0.1:18080/v1/models\nEnd it:\n  build/provision destroy --yes %s\n' "$manifest"
