#!/usr/bin/env bash
# Makes this checkout ready to run, and is instant when it is: Debian packages, .venv, control plane binaries.
# Usage: ./setup.sh [--without-binaries]. Killed anywhere, the next call repairs what it left.
# Exit status: 10 when this machine cannot be made ready (one sentence says why), else that of the failing step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'setup: %s\n' "$*" >&2; }
unfit() { say "$*"; exit 10; }
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# The first Python from PATH that is new enough; our own .venv does not count, since it may be removed below.
choose_python() {
    local candidate
    while read -r candidate; do
        case $candidate in "$PWD"/.venv/*) continue ;; esac
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done < <(type -ap python3 python3.14 python3.13 python3.12 python3.11)
    return 1
}

missing_packages() {
    has ip || echo iproute2
    has nft && ldconfig_has libnftables.so.1 || echo nftables
    has unshare && has nsenter && has setpriv && has flock || echo util-linux
    has mount || echo mount
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] || echo ca-certificates
    [ -x /usr/bin/python3 ] || echo python3-minimal python3 # pods of an embedded fleet run it
    local python
    python=$(choose_python) && "$python" -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

ldconfig_has() { PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -F "$1" >/dev/null; }

install_packages() {
    local packages as_root=() log
    packages=$(missing_packages | tr '\n' ' ')
    [ -n "${packages// /}" ] || return 0
    has apt-get || unfit "this machine lacks what these Debian packages bring, and has no apt-get: $packages"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || unfit "install these packages first, as root: apt-get install $packages"
        as_root=(sudo -n)
    fi
    say "installing Debian packages: $packages"
    log=$(mktemp)
    # shellcheck disable=SC2086  # a list of package names
    if ! { "${as_root[@]}" apt-get update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
            -o DPkg::Lock::Timeout=120 $packages; } >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        unfit "the Debian packages $packages could not be installed"
    fi
    rm -f "$log"
    [ -z "$(missing_packages)" ] || unfit "still missing after apt-get install: $(missing_packages | tr '\n' ' ')"
}

# What decides the content of .venv: the packaging part of pyproject.toml, the interpreter, where the checkout lies.
fingerprint() {
    { "$1" -c '
import json, sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
project["tool"] = project["tool"]["setuptools"]
print(sys.version, sys.executable, json.dumps(project, sort_keys=True))' && pwd -P; } | sha256sum | cut -c1-64
}

install_python() {
    # The dependency group is spelt out, because the pip of Debian 12 does not know groups.
    local group
    mapfile -t group < <(.venv/bin/python -c '
import tomllib
print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))')
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off --editable . "${group[@]}"
    echo "$1" >.venv/setup.stamp
}

prefixed() { sed -u -E "s/^/  $1 | /; s/^(.{110}).+/\1…/" >&2; }
telling() { grep --line-buffered -E '^(Obtaining|Collecting|Building|Installing|Successfully|WARNING|ERROR)|[Ee]rror' || true; }

interrupted() {
    trap - INT TERM
    say interrupted
    for job in "${jobs[@]}"; do
        kill -TERM -- "-$job" 2>/dev/null || true
    done
    wait
    exit 130
}

main() {
    local python wanted stale=no jobs=() job status=0
    if [ "${1:-}" != --without-binaries ] && [ "$(id -u)" != 0 ]; then
        unfit "fleets of our own need root. Without it: make check; for clusters that are there already, ./setup.sh --without-binaries"
    fi
    install_packages
    python=$(choose_python) || unfit "no Python 3.11 or newer on PATH: install one (Debian 12: apt-get install python3)"

    exec 9<setup.sh # children keep it: a new setup waits until an orphan of a killed one has ended
    flock --nonblock 9 || { say "another setup is running in this checkout; waiting for it"; flock 9; }

    wanted=$(fingerprint "$python")
    if [ "$(cat .venv/setup.stamp 2>/dev/null)" != "$wanted" ]; then
        stale=yes
        if [ -e .venv/setup.stamp ] && .venv/bin/python -c '' 2>/dev/null; then
            rm .venv/setup.stamp # pyproject.toml changed: pip brings a whole environment up to date
        else
            say "making .venv with $("$python" -V)" # no stamp: an install that was interrupted cannot be trusted
            rm -rf .venv 2>/dev/null || unfit "this user may not replace $PWD/.venv: remove it as its owner, then run this again"
            "$python" -m venv .venv
        fi
    fi

    set -m # a process group for each job below, so that an interrupt can end all of it
    trap interrupted INT TERM
    if [ "$stale" = yes ]; then
        say "installing Python packages from PyPI into .venv: usually about a minute"
        (set -o pipefail; install_python "$wanted" 2>&1 | telling | prefixed python) &
        jobs+=($!)
    fi
    if [ "${1:-}" != --without-binaries ]; then
        (set -o pipefail; PYTHONPATH=. .venv/bin/python -m meshproof.clusters.embedded.binaries 2>&1 >/dev/null | prefixed 'go    ') &
        jobs+=($!)
    fi
    for job in "${jobs[@]}"; do
        wait "$job" || status=$?
    done
    [ "$status" = 0 ] || { say "failed with status $status; run it again once the cause above is gone"; exit "$status"; }
}

main "$@"
