#!/usr/bin/env bash
# onnxruntime 1.31.1 on Linux: `import onnxruntime` alone, with no session made, writes a device id and a database of
# telemetry under the home folder. disable_telemetry_events() comes too late, since it can be called only after the
# import; the variable ORT_DISABLE_TELEMETRY=1, set before the import, leaves no file. Nor does CI=true: a test on a CI
# machine does not see what users see.
#
# Seen on 2026-11-29 (Python 3.11):
#   import alone                        .cache/Microsoft/DeveloperTools/.onnxruntime/{deviceid,onnxruntime.db}
#   disable_telemetry_events()          the same two files
#   ORT_DISABLE_TELEMETRY=1             no file
#   CI=true                             no file
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check onnxruntime==1.31.1 numpy==2.4.6

written() {  # the files under an empty home folder after a program ran there: NAME PROGRAM [VARIABLE=VALUE]
    mkdir "$1"
    env -u CI HOME="$folder/$1" XDG_CACHE_HOME= "${@:3}" venv/bin/python -c "$2"
    find "$1" -type f -printf '%f\n' | sort | tr '\n' ' '
}

expect() {  # WHAT SEEN WANTED
    printf '%-30s %s\n' "$1" "${2:-no file}"
    [ "$2" = "$3" ] || { echo "this has changed: $1"; exit 1; }
}

both="deviceid onnxruntime.db "
expect "import alone" "$(written plain 'import onnxruntime')" "$both"
expect "disable_telemetry_events()" \
    "$(written switched 'import onnxruntime; onnxruntime.disable_telemetry_events()')" "$both"
expect "ORT_DISABLE_TELEMETRY=1" "$(written variable 'import onnxruntime' ORT_DISABLE_TELEMETRY=1)" ""
expect "CI=true" "$(written ci 'import onnxruntime' CI=true)" ""
