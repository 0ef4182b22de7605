#!/bin/sh
# Sourced by every finding: a container of Debian forky with exactly what the finding names, and the comparison with what is recorded.
# Needs Docker and nothing else. Whatever happens, what it made goes; the container ends by itself after 170 s.
set -eu

name=finding-$(basename "$0" .sh)-$$
work=$(mktemp -d)
chmod 755 "$work" # servers in the container read it as users of their own

leave() {
    docker ps --all --quiet --filter "name=$name" | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
    docker network ls --quiet --filter "name=$name" | xargs --no-run-if-empty docker network rm >/dev/null
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# box "APT PACKAGES" ["PYTHON REQUIREMENTS"]: the network is there for the installation only. Says which versions came.
# With $sysctl, NAME=VALUE, the container has this setting of the kernel.
box() {
    docker run --detach --rm --init --name "$name" --volume "$work:/lab" --workdir /lab ${sysctl:+--sysctl "$sysctl"} \
        --env PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env PYTHONDONTWRITEBYTECODE=1 \
        --env DEBIAN_FRONTEND=noninteractive debian:forky-slim sleep 170 >/dev/null
    # shellcheck disable=SC2086  # lists of packages
    {
        in_box apt-get update &&
            in_box apt-get install --yes --no-install-recommends $1 &&
            { [ -z "${2-}" ] || { in_box python3 -m venv /venv && in_box pip install $2; }; }
    } >"$work/install.log" 2>&1 || { cat "$work/install.log" && exit 1; }
    docker network disconnect bridge "$name"
    # shellcheck disable=SC2016,SC2086  # dpkg-query's own variables; lists of packages
    in_box dpkg-query --show --showformat '${Package} ${Version}\n' $1
    if [ -n "${2-}" ]; then
        printf '%s\n' "$2" | tr ' ' '\n'
    fi
}

in_box() { docker exec --interactive "$name" timeout 100 "$@"; }

# recorded <<END: compares these lines with $work/seen, what was seen just now.
recorded() {
    cat >"$work/recorded"
    printf '\nSeen:\n'
    cat "$work/seen"
    diff -u "$work/recorded" "$work/seen" >"$work/diff" && return
    printf '\nThis is no longer what is recorded (- recorded, + seen now):\n'
    tail -n +3 "$work/diff"
    exit 1
}
