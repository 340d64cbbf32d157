#!/bin/sh
# Makes .venv-peers hold the queues that visionq is measured against, as their lock says.
# Does nothing when the lock is that of the last time.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-peers
lock=benchmarks/peers/requirements.lock

if [ -e $venv/installed-from ] && cmp -s $lock $venv/installed-from; then
    exit 0
fi
echo "Installing the queues to measure against into $venv"
if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --clear --python .venv/bin/python $venv
    VIRTUAL_ENV=$PWD/$venv uv pip install --quiet --require-hashes -r $lock
else
    .venv/bin/python -m venv --clear $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $lock
fi
cp $lock $venv/installed-from
