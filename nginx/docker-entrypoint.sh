#!/bin/sh
# As in the official nginx image: before nginx starts, the parts in /docker-entrypoint.d/ run in the order
# of their names; *.envsh are sourced and set variables, *.sh are run. Any other command runs as it is:
# docker run IMAGE bash
set -eu

if [ "${1-}" = nginx ]; then
    for part in "/docker-entrypoint.d"/*; do
        # shellcheck source=/dev/null
        case $part in
            *.envsh) . "$part" ;;
            *.sh) "$part" ;;
        esac
    done
fi
exec "$@"
