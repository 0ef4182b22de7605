#!/bin/sh
# Fills in templates/: X.conf.template becomes X.conf in the output folder, sub-folders are kept. The
# variables are those of the official image, but a folder that cannot be written is an error here, not a
# message.
set -eu

from="${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}" to=$NGINX_ENVSUBST_OUTPUT_DIR
# shellcheck disable=SC2016 # awk's and envsubst's
names=$(awk -v filter="${NGINX_ENVSUBST_FILTER:-}" \
    'BEGIN { for (name in ENVIRON) if (name ~ filter) printf "${%s} ", name }')

cd "$from"
find . -name '*.template' | while read -r file; do
    result=$to/${file%.template}
    if ! { mkdir -p "${result%/*}" && envsubst "$names" <"$file" >"$result"; }; then
        echo "20-envsubst: cannot write $result: mount a tmpfs on $to that user $(id -u) may write" >&2
        exit 2
    fi
done
