#!/bin/sh
# With TLS: the certificate is checked and copied to where nginx reads it; a renewed one is taken over while
# nginx runs. $PPID is the entrypoint, which becomes nginx's master process.
set -euf

[ "$LISTENERS" != http ] || exit 0
set -- "/run/tls/fullchain.pem" "/run/tls/privkey.pem" "/run/nginx/tls"
# shellcheck disable=SC2086 # a list
"/usr/local/bin/certificate" install "$@" $SERVER_NAMES
"/usr/local/bin/certificate" watch "$@" "$PPID" &
