#!/bin/sh
# Fills in templates/: X.conf.template becomes X.conf in the output folder, sub-folders are kept. The
# variables are those of the official image.
set -eu

from="${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}" to=$NGINX_ENVSUBST_OUTPUT_DIR
# shellcheck disable=SC2016 # awk's and envsubst's
names=$(awk -v filter="${NGINX_ENVSUBST_FILTER:-}" \
    'BEGIN { for (name in ENVIRON) if (name ~ filter) printf "${%s} ", name }')

cd "$from"
find . -name '*.template' | while read -r file; do
    result=$to/${file%.template}
    mkdir -p "${result%/*}"
    envsubst "$names" <"$file" >"$result"
done
