#!/bin/sh
# Create .venv with a Python that everything here has wheels for, or say what to do.
# PYTHON=... chooses the interpreter. Order: 3.12, 3.11, uv's 3.12, a newer Python.
set -eu
cd "$(dirname "$0")/.."

usable() { # a name that exists may still be a stub that fails, or lack the venv module's parts
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] '"$2"')' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        if usable "$PYTHON" '<= (3, 14)'; then
            echo "$PYTHON"
        else
            echo "$PYTHON is not a Python 3.11 to 3.14 with its venv module" >&2
        fi
        return
    fi
    for name in python3.12 python3.11 python3 python /usr/bin/python3.12 /usr/bin/python3.11; do
        if usable "$name" '<= (3, 12)'; then
            echo "$name"
            return
        fi
    done
    if command -v uv >/dev/null 2>&1; then
        if uv python find 3.12 2>/dev/null; then
            return
        fi
        echo "no usable Python 3.11 or 3.12 here: fetching 3.12 with uv" >&2
        if uv python install --quiet 3.12 >&2; then
            uv python find 3.12
            return
        fi
        echo "uv could not fetch it" >&2
    fi
    for name in python3.14 python3.13 python3 python; do
        if usable "$name" '<= (3, 14)'; then
            echo "$name"
            return
        fi
    done
}

chosen=$(find_python)
if [ -z "$chosen" ]; then
    cat >&2 <<'HELP'
Tollgate needs Python 3.11 or 3.12 with its venv module, and found none. One of these helps:
  Debian, Ubuntu    apt install python3 python3-venv
  macOS             brew install python@3.12
  anywhere          install uv (https://docs.astral.sh/uv/), then run make again
  elsewhere         make PYTHON=/path/to/python3.12
HELP
    exit 1
fi

if [ -e .venv ]; then
    echo "removing the .venv that was made elsewhere or by other means"
    rm -rf .venv
fi
echo "creating .venv with $("$chosen" --version) ($(command -v "$chosen"))"
"$chosen" -m venv .venv
