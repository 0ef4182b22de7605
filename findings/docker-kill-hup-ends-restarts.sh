#!/bin/sh
# Docker: `docker kill --signal HUP`, the way to reload gunicorn in a container, switches the restart policy off.
#
# Guess, before the run: a signal that the program survives changes nothing; when the program dies later, `restart: always` starts it.
# Seen: after one HUP the container stays down when its program fails, until somebody starts it by hand. `always`, `unless-stopped` and
# `on-failure` alike. If the image or the container names a stop signal, even the default SIGTERM, HUP does no harm: then only that
# signal and KILL count as "somebody wants it to stop". The official nginx image names one (SIGQUIT); most Dockerfiles do not.
# Why it matters: `docker kill -s HUP app` and `docker compose kill -s HUP app` are in many runbooks for new code or new log files; the
# container that was reloaded so is the one that does not come back. Say `STOPSIGNAL SIGTERM` in the Dockerfile (`stop_signal` in Compose).
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
docker version --format 'Docker Engine {{.Server.Version}}'

# survives OPTIONS [SIGNAL]: starts a program, sends the signal, lets the program fail, says what became of it.
survives() {
    # shellcheck disable=SC2086  # options
    docker run --detach --name "$name" --init $1 debian:forky-slim sh -c '
        trap "echo HUP" HUP
        echo up
        until [ -e /fail ]; do sleep 0.1; done
        rm /fail
        exit 1' >/dev/null
    until docker logs "$name" | grep -q up; do :; done
    if [ -n "${2-}" ]; then
        docker kill --signal "$2" "$name" >/dev/null
        until docker logs "$name" | grep -q "$2"; do :; done
    fi
    docker exec "$name" touch /fail
    until [ "$(docker inspect --format '{{.State.Status}}' "$name")" = exited ] || [ "$(docker logs "$name" | grep -c up)" = 2 ]; do :; done
    printf '%s, %s: %s\n' "$1" "${2-no signal}" "$(docker inspect --format '{{.State.Status}}' "$name")"
    docker rm --force "$name" >/dev/null
}

{
    survives "--restart always"
    survives "--restart always" HUP
    survives "--restart unless-stopped" HUP
    survives "--restart on-failure" HUP
    survives "--restart always --stop-signal SIGTERM" HUP
} >"$work/seen"
recorded <<'END'
--restart always, no signal: running
--restart always, HUP: exited
--restart unless-stopped, HUP: exited
--restart on-failure, HUP: exited
--restart always --stop-signal SIGTERM, HUP: running
END
