#!/usr/bin/env bash
# Make the environment complete for this folder: `scripts/environment.sh VENV REQUIREMENTS` (called by make).
#
# A second process waits for the first. An environment that was moved with its clone is corrected.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 requirements=$2
[[ $venv == /* ]] && place=$venv || place=$PWD/$venv
stamp=$venv/.installed
[[ $requirements == requirements.txt ]] || stamp=$venv/.installed-dev

current() {
    [[ -f $stamp && ! requirements.txt -nt $stamp && ! $requirements -nt $stamp && ! pyproject.toml -nt $stamp ]]
}
# Whether it was made for this folder; a link leads to one that several checkouts share.
here() {
    [[ -L $venv || ! -f $stamp || $(<"$stamp") == "$place" ]]
}

current && here && exit

# MLflow's migrations read their own path as a template.
if [[ $place == *%* ]]; then
    echo "make: MLflow cannot run from $place, because of the percent sign; give make VENV=/another/folder" >&2
    exit 2
fi

exec 9<Makefile
flock -n 9 || { echo "Waiting for another make that installs into $venv" && flock 9; }

if ! here; then
    echo "Correcting the paths in $venv, which was made in another folder"
    "$venv/bin/python" scripts/relocate.py "$venv"
    for known in "$venv"/.installed*; do
        touch -r "$known" "$venv/.time" && echo "$place" >"$known" && touch -r "$venv/.time" "$known"
    done
fi
current && exit

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$PYTHON must be Python 3.11 or newer; name another one with PYTHON=..." >&2
        exit 1
    fi
    "$PYTHON" -m venv --clear "$venv"
fi
echo "Installing into $venv (a few minutes and gigabytes the first time)"
"$venv/bin/python" -m pip install -qq --progress-bar off -r "$requirements"
# setuptools is pinned, so building the package needs no separate environment.
"$venv/bin/python" -m pip install -qq --progress-bar off --no-deps --no-build-isolation --editable .
# The test tools' requirements include the runtime's.
echo "$place" >"$venv/.installed"
echo "$place" >"$stamp"
