#!/bin/sh
# Whether the bodies that MAX_CONTENT_LENGTH allows have room. One that has none gets 507.
set -eu
folder=/run/nginx/body
mkdir -p "$folder"
bytes=$(df -Pk "$folder" | awk 'END { printf "%.0f", $2 * 1024 }')
room=$((bytes / MAX_CONTENT_LENGTH))
says="MAX_CONTENT_LENGTH=$MAX_CONTENT_LENGTH: $folder has $bytes bytes, for $room bodies of that size at once"
disk="compose/uploads-on-disk.yaml puts them on a volume"

if [ "$room" -lt 1 ]; then
    echo "$says; write $bytes at most, or $disk" >&2
    exit 2
elif [ "$room" -lt 12 ]; then
    echo "$says, more get 507; $disk" >&2
fi
