#!/bin/sh
# Installs a lock into its virtual environment:
#   install.sh run     requirements-run.lock, what running needs, into .venv
#   install.sh dev     requirements.lock, that and what developing needs, into .venv as well
#   install.sh peers   the queues that benchmarks compare with, into .venv-peers
# With `run` comes this checkout, as an editable install.
# Nothing is resolved or built: the lock names every file, whatever has been released since.
# Does nothing when lock, pyproject.toml, Python and folder are those of the last time.
set -eu
cd "$(dirname "$0")/.."

set_name=$1
venv=.venv
case $set_name in
run) lock=requirements-run.lock ;;
dev) lock=requirements.lock ;;
peers)
    lock=benchmarks/peers/requirements.lock
    venv=.venv-peers
    PYTHON=.venv/bin/python # the same for all that are compared
    ;;
esac
log=$venv/install.log

fail() {
    echo "make install: $*" >&2
    exit 1
}

# Whether $1 runs, and is a Python that visionq supports.
supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

version() {
    "$1" -c 'import sys; print(sys.version.replace("\n", " "))'
}

# Prints the Python to build .venv with. 3.12 and 3.11 come first: they have a wheel with Redis in it.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or newer"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3.13 python3.14 python3 python \
        python3.15 python3.16 python3.17 python3.18 python3.19; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer on PATH; install one, or name it: make install PYTHON=/path/to/python3"
}

has_uv() {
    [ "${INSTALLER:-}" != pip ] && command -v uv >/dev/null 2>&1
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
        rm -rf $venv
        # By its path: for a name uv looks further, and may download a Python.
        uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" $venv
        return
    fi
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python can't make virtual environments; on Debian: apt-get install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'), or install uv"
    "$python" -m venv --clear $venv
}

# What the installation depends on, in one line.
wanted() {
    echo "$(cat "$1" pyproject.toml | cksum) $(version $venv/bin/python) $PWD"
}

# Runs `pip $@` in the environment, by uv or by pip; what it prints goes to the log.
pip() {
    command=$1
    shift
    if has_uv; then
        set -- uv pip "$command" --python $venv/bin/python "$@"
    else
        # Compiling every module takes a third of the time, and most are never imported.
        [ "$command" = check ] || set -- --no-compile --no-input --progress-bar off "$@"
        set -- $venv/bin/python -m pip --disable-pip-version-check "$command" "$@"
    fi
    echo "+ $*" >>$log
    "$@" >>$log 2>&1 || explain
}

# Says in a few lines what went wrong, and where the whole of it is.
explain() {
    missing=$(sed -n \
        -e 's/^ERROR: No matching distribution found for \([^ ]*\).*/\1/p' \
        -e 's/.*Because \([^ ]*\) has no .*wheels.*/\1/p' \
        -e 's/.*Because there is no version of \([^ ]*\) .*/\1/p' $log)
    if [ -n "$missing" ] && ! grep -q 'Retrying (' $log; then
        where=$($venv/bin/python -c 'import sys, sysconfig; print("Python %d.%d" % sys.version_info[:2], "on", sysconfig.get_platform())')
        fail "your package index has no wheel of $missing for $where; use another Python: make install PYTHON=/path/to/python3.12 (the log: $log)"
    fi
    sed -e '/^WARNING/d' -e '/^+ /d' $log | tail -n 5 >&2
    if [ "$command" = check ]; then
        fail "packages of an earlier lock contradict this one: remove $venv and repeat (the log: $log)"
    fi
    fail "failed with the lines above; the whole log: $log"
}

case ${INSTALLER:-} in
'' | pip) ;;
*) fail "INSTALLER=$INSTALLER is unknown: leave it out, for uv where it is on PATH, or say INSTALLER=pip" ;;
esac
if [ -n "${PYTHON:-}" ]; then
    choose_python >/dev/null
fi
venv_serves || create_venv
if [ "$(cat $venv/installed-$set_name 2>/dev/null)" = "$(wanted $lock)" ]; then
    exit 0
fi

# Modules are compiled once, here, and not by every process at its start. A file that can't be
# compiled is a template or a test of somebody's.
compile() {
    # Not by `compileall -j`: handing out one file at a time costs half as much as compiling it.
    printf '%s\n' $venv/lib/python3*/site-packages/* visionq producer worker monitoring |
        xargs -n 40 -P 2 $venv/bin/python -m compileall -qq || :
}

echo "Installing what $lock lists into $venv"
if [ "$set_name" = run ]; then
    rm -f $venv/installed-*
else
    rm -f $venv/installed-$set_name
fi
: >$log
pip install --no-deps --require-hashes --only-binary :all: -r $lock
if [ "$set_name" = run ]; then
    echo "Installing this checkout"
    compile &
    # A checkout has no hash, so it is a step of its own; its build tool came with the lock.
    pip install --no-deps --no-index --no-build-isolation --editable .
    pip check
    wait
else
    pip check
fi
wanted $lock >$venv/installed-$set_name
echo "Installed."
