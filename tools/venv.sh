#!/bin/sh
# Create .venv with a Python that everything here has wheels for, or say what to do.
# PYTHON=... chooses the interpreter. Else: the fastest of the Pythons 3.12 and 3.11 that are here, uv's 3.12, a newer
# Python. Which build it is matters: one without profile-guided optimization costs half as much again for a request.
set -eu
cd "$(dirname "$0")/.."

SUPPORTED=3.12
USABLE=3.14
PLACES="${PYTHON_PLACES-/usr/bin /usr/local/bin /opt/homebrew/bin}"

ask() { # newest version, then interpreters: a line for each that is usable (see tools/interpreter.py)
    newest=$1
    shift
    for python in "$@"; do # a name that exists may still be a stub that fails
        "$python" tools/interpreter.py "$newest" 2>/dev/null || true
    done
}

here() { # versions: where these are, on the PATH and in the usual places
    for version in "$@"; do
        command -v "python$version" || true
        for place in $PLACES; do
            [ ! -x "$place/python$version" ] || echo "$place/python$version"
        done
    done
}

# Of several the first stands in front, unless another takes less than 85 % of its time: times differ a little with
# whatever else the machine does. The others follow, in case that one cannot make a .venv after all.
rank() {
    awk -F '\t' '
        !seen[$3]++ { time[++count] = $1; line[count] = $0 }
        END {
            for (i = 1; i <= count; i++) if (!best || time[i] < time[best]) best = i
            for (i = 1; i <= count && !front; i++) if (time[best] >= time[i] * 0.85) front = i
            if (front) print line[front]
            for (i = 1; i <= count; i++) if (i != front) print line[i]
        }'
}

find_pythons() {
    if [ -n "${PYTHON:-}" ]; then
        ask "$USABLE" "$PYTHON"
        return
    fi
    ask "$SUPPORTED" $(here 3.12 3.11 3 '') $(uv python find --no-python-downloads 3.12 2>/dev/null || true)
}

find_others() {
    if command -v uv >/dev/null 2>&1; then
        echo "no usable Python 3.11 or 3.12 here: fetching 3.12 with uv" >&2
        if uv python install --quiet 3.12 >&2; then
            ask "$SUPPORTED" "$(uv python find 3.12)"
            return
        fi
        echo "uv could not fetch it" >&2
    fi
    ask "$USABLE" $(here 3.14 3.13 3 '')
}

found=$(find_pythons | rank)
if [ -z "$found" ] && [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON is not a Python 3.11 to 3.14 with its venv module" >&2
elif [ -z "$found" ]; then
    found=$(find_others | rank)
fi

if [ -e .venv ] && [ -n "$found" ]; then
    echo "removing the .venv that was made elsewhere or by other means"
    rm -rf .venv
fi

tab=$(printf '\t')
printf '%s\n' "$found" | { while IFS="$tab" read -r time version python; do
    [ -n "$python" ] || continue
    why=$(printf '%s\n' "$found" | awk -F '\t' -v own="$python" -v mine="$time" '
        $3 != own && $1 > mine / 0.85 && !said++ { printf ": %s (%s) takes %.1f times as long", $2, $3, $1 / mine }')
    echo "creating .venv with Python $version ($python)$why"
    if "$python" -m venv .venv; then
        exit 0
    fi
    rm -rf .venv
    echo "that Python cannot make a virtual environment; trying the next" >&2
done; exit 1; } && exit 0

cat >&2 <<'HELP'
Tollgate needs Python 3.11 or 3.12 with its venv module, and found none. One of these helps:
  Debian, Ubuntu    apt install python3 python3-venv
  macOS             brew install python@3.12
  anywhere          install uv (https://docs.astral.sh/uv/), then run make again
  elsewhere         make PYTHON=/path/to/python3.12
HELP
exit 1
