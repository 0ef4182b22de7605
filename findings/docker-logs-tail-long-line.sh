#!/bin/sh
# Docker: `docker logs --tail` counts pieces of 16 KB, so a long line of a log loses its beginning; --timestamps writes into it.
#
# Guess, before the run: json-file stores a line over 16 KB in pieces, `docker logs` puts them together again; --timestamps may repeat
# the time within the line; --tail gives the last whole lines.
# Seen: the pieces are put together by plain output only. --timestamps puts a time between them, and --tail 1 of a log that ends with
# a line of 40,000 bytes gives its last 7,232 bytes.
# Why it matters: a JSON log line with a traceback, a long query or a cookie is over 16 KB now and then. Scripts that read
# `docker logs --tail N`, and `docker compose logs --tail N`, get a line that is no JSON, though it was written well.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
docker version --format 'Docker Engine {{.Server.Version}}'

docker run --name "$name" --log-driver json-file debian:forky-slim sh -c 'echo first; printf "%040000d\n" 0' >/dev/null
lengths() { awk '{ printf "%s%d", (NR > 1 ? ", " : ": "), length($0) } END { print "" }'; }
{
    for options in "" "--tail 2" "--tail 1" "--timestamps"; do
        printf 'bytes of each line, docker logs %s' "$options"
        # shellcheck disable=SC2086  # options
        docker logs $options "$name" | lengths
    done
} >"$work/seen"
recorded <<'END'
bytes of each line, docker logs : 5, 40000
bytes of each line, docker logs --tail 2: 23616
bytes of each line, docker logs --tail 1: 7232
bytes of each line, docker logs --timestamps: 36, 40093
END
