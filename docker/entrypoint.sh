#!/bin/sh
# HEASoft's environment first, then whatever was asked for; `exec`, so that signals and the exit status are its own.
HEADAS="${HEADAS:-/opt/heasoft}"
export HEADAS
if [ -r "$HEADAS/headas-init.sh" ]; then
    # our own arguments are none of its business
    init() { . "$HEADAS/headas-init.sh"; }
    init
    # HEASoft puts its own directories first; the interpreter that holds xsixsa has to win
    PATH="/opt/xsixsa/bin:$PATH"
    export PATH
else
    echo "xsixsa: no HEASoft in $HEADAS (headas-init.sh is missing): only the embedded engine will run" >&2
fi
if [ "${1-}" = jupyter ] && ! command -v jupyter >/dev/null 2>&1; then
    echo "xsixsa: this image has no Jupyter: build it with --build-arg JUPYTER=yes" >&2
    exit 127
fi
exec "$@"
