#!/bin/sh
# Installs what is missing to build, run and test: compilers and the simulator by apt, a virtual environment
# from requirements.lock. Does nothing, quickly, when all is there.
# Usage: scripts/setup.sh [VENV]        PYTHON=python3.12 scripts/setup.sh   picks another interpreter
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
stamp="$venv/.setup-stamp"
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Prints the Debian packages whose tool is not there.
missing_packages() {
    have arm-none-eabi-gcc || echo gcc-arm-none-eabi
    # gcc prints the bare name back when it does not find the file
    if ! have arm-none-eabi-gcc || [ "$(arm-none-eabi-gcc -print-file-name=libc.a)" = libc.a ]; then
        echo libnewlib-arm-none-eabi
    fi
    have qemu-system-arm || echo qemu-system-arm
    have gcc || echo gcc libc6-dev
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_packages() {
    have apt-get || fail "these packages are needed and there is no apt-get to install them: $*; install them with" \
        "your system's package manager (Arm GCC with newlib, QEMU for Arm, a C compiler), then run this again"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "these packages are needed: $*; run as root: apt-get install --no-install-recommends $*"
        as_root=sudo
    fi
    echo "setup: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq || echo "setup: apt-get update failed, trying the lists that are there" >&2
    $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*; its message is above"
}

# Everything but torch first, so that a missing torch is told apart from a missing network.
install_locked() {
    wanted="$venv/.requirements-without-torch"
    grep -v '^torch==' requirements.lock >"$wanted"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$wanted" ||
        fail "pip could not install the packages of requirements.lock; its message is above"
    rm -f "$wanted"
    torch=$(grep '^torch==' requirements.lock)
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$torch" ||
        fail "pip could not install '$torch'. This is PyTorch's CPU build; the default package index offers only" \
            "the CUDA build under this version. Either name PyTorch's own index for CPU wheels in" \
            "PIP_EXTRA_INDEX_URL (PyTorch's installation page gives it: Linux, Pip, Python, CPU), or put the" \
            "wheel into a folder and name that in PIP_FIND_LINKS; then run 'make setup' again"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        fail "could not install rnnpool-mcu itself; pip's message is above"
}

[ -n "$python" ] || fail "python3 is not installed; install Python 3.11 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) at $python is too old; Python 3.11 or newer is needed (name it in PYTHON)"

# shellcheck disable=SC2046  # package names hold no spaces
set -- $(missing_packages)
[ $# = 0 ] || install_packages "$@"

if [ -f "$stamp" ] && cat requirements.lock pyproject.toml | cmp -s - "$stamp"; then
    exit 0
fi
echo "setup: virtual environment in $venv (the first time takes a few minutes)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
install_locked
cat requirements.lock pyproject.toml >"$stamp"
