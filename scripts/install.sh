#!/bin/sh
# Makes .venv hold what requirements.lock says, plus this checkout as an editable install.
# Does nothing when the lock, pyproject.toml, the Python and the folder are those of the last time.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/installed-from

fail() {
    echo "make install: $*" >&2
    exit 1
}

# Whether $1 runs, and is a Python that visionq supports.
supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

version() {
    "$1" -c 'import sys; print(sys.version.replace("\n", " "))'
}

# Prints the Python to build .venv with. 3.12 and 3.11 come first: they have a wheel with Redis in it.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3.13 python3 python; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 on PATH; install one, or name it: make install PYTHON=/path/to/python3.12"
}

has_uv() {
    command -v uv >/dev/null 2>&1
}

venv_serves() {
    [ -x $venv/bin/python ] && supported $venv/bin/python || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version $venv/bin/python)" ] || return 1
    has_uv || $venv/bin/python -c 'import pip' 2>/dev/null
}

create_venv() {
    python=$(choose_python)
    echo "Creating $venv with Python $(version "$python" | cut -d' ' -f1)"
    if has_uv; then
        uv venv --quiet --clear --python "$python" $venv
        return
    fi
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python can't make virtual environments; on Debian: apt-get install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'), or install uv"
    "$python" -m venv --clear $venv
}

# What the installation depends on, in one line.
wanted() {
    echo "$(cat requirements.lock pyproject.toml | cksum) $(version $venv/bin/python) $PWD"
}

pip_install() {
    if has_uv; then
        uv pip install --quiet --python $venv/bin/python "$@"
    else
        # Compiling every module takes a third of the time, and most are never imported.
        $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@"
    fi
}

if [ -n "${PYTHON:-}" ]; then
    choose_python >/dev/null
fi
venv_serves || create_venv
if [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ]; then
    exit 0
fi

echo "Installing what requirements.lock lists into $venv"
rm -f $stamp
pip_install --require-hashes -r requirements.lock
# A checkout has no hash, so it is a step of its own; its build tool came with the lock.
pip_install --no-deps --no-build-isolation --editable .
wanted >$stamp
echo "Installed. Try: make demo"
