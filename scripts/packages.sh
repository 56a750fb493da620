#!/bin/sh
# Install what a step needs, with apt, as root or by sudo: packages.sh build|test. Nothing is asked of apt that is there already.
set -eu
case "${1:-}" in
build) wanted="gcc cmake make pkg-config libyaml-dev libcurl4-openssl-dev libssl-dev libsqlite3-dev libjansson-dev python3" ;;
test) wanted="clang libclang-rt-dev clang-tidy cppcheck valgrind ninja-build patch libcmocka-dev python3-venv git curl nginx-light docker.io iptables busybox-static strace openssl sqlite3 procps" ;;
*) echo "usage: $0 build|test" >&2; exit 64 ;;
esac
missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words is meant
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
