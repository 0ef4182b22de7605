#!/bin/sh
# TRUSTED_PROXIES as lines, for templates/15-client.conf.template: one for each network, so no template can
# hold them.
set -euf

folder=$NGINX_ENVSUBST_OUTPUT_DIR/trusted-proxies
mkdir -p "$folder"
networks=$(printf '%s' "$TRUSTED_PROXIES" | tr , ' ')
# shellcheck disable=SC2086 # a list
[ -z "$networks" ] || set -- $networks
for network in "$@"; do printf 'set_real_ip_from %s;\n' "$network"; done >"$folder/real-ip.conf"
for network in "$@"; do printf '%s 1;\n' "$network"; done >"$folder/geo.conf"
