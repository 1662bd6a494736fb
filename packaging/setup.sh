#!/bin/sh
# Makes .venv ready for medview: system libraries by apt where something is missing, then the
# pinned Python packages. A second call finds everything done and returns at once.
#   usage: packaging/setup.sh run|test|bench
set -eu
goal=${1:-run}
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
stamp=.venv/ready-$goal
sum=$(cat pyproject.toml packaging/constraints.txt packaging/system-packages.txt | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && [ -x .venv/bin/python ]; then exit 0; fi

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
python=${PYTHON:-python3}

system_packages() {
    command -v apt-get >/dev/null 2>&1 || return 0
    wanted=$(sed 's/#.*//' packaging/system-packages.txt)
    # A Debian Python comes without the parts that make virtual environments.
    "$python" -c 'import ensurepip' 2>/dev/null || wanted="$wanted python3-venv"
    missing=""
    for package in $wanted; do
        state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        # Renamed libraries (libglib2.0-0t64) provide the old name.
        [ "$state" = "install ok installed" ] ||
            dpkg-query -W -f '${Status}' "${package}t64" 2>/dev/null | grep -q "ok installed" ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "Installing system libraries with apt:$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

system_packages
if [ ! -x .venv/bin/python ]; then
    echo "Making .venv"
    "$python" -m venv .venv
fi
extra=""
case $goal in test) extra="[dev]" ;; bench) extra="[dev,bench]" ;; esac
echo "Installing medview$extra and its pinned packages into .venv (some minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint packaging/constraints.txt --editable ".$extra" ||
    { echo "pip could not install the packages; see its message above" >&2; exit 1; }
echo "$sum" > "$stamp"
