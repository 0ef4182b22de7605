#!/bin/sh
# As in the official image: runs /docker-entrypoint.d/*.sh and sources *.envsh, in the order of their names,
# then nginx. Any other command runs as it is: docker run IMAGE bash
set -eu

if [ "${1-}" = nginx ]; then
    for part in "/docker-entrypoint.d"/*; do
        # shellcheck source=/dev/null
        case $part in
            *.envsh) . "$part" ;;
            *.sh) "$part" ;;
        esac
    done
    chrt --batch --pid 0 $$ || :   # interrupts nobody: one core answers a fifth more requests (docs/design.md)
fi
exec "$@"
