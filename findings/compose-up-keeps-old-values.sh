#!/bin/sh
# Compose: `up` after a new value of configs.content or secrets.environment changes nothing: the old container runs on with the old one.
#
# Guess, before the run: `up` replaces a container when a value that Compose itself writes into it has changed, by configs.content and
# secrets.environment as by environment and env_file. A file that is mounted has its new content in the old container.
# Seen: environment and env_file do. With configs.content and secrets.environment the container is kept, and what is inside stays as it
# was when the container was made, after `restart` too. --force-recreate brings the new value in.
# Why it matters: a password rotated in the environment of `docker compose up`, or an inline configuration that was edited: the command
# ends with 0, and nothing has changed.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
docker version --format 'Docker Engine {{.Server.Version}}'
docker compose version

cat >"$work/compose.yaml" <<END
name: $name
x-base: &base {image: debian:forky-slim, init: true, command: [sleep, "170"]}
configs:
  value: {content: "\${VALUE}"}
secrets:
  value: {environment: VALUE}
  file: {file: value}
services:
  environment: {<<: *base, environment: ["VALUE=\${VALUE}"]}
  env_file: {<<: *base, env_file: env}
  configs.content: {<<: *base, configs: [value]}
  secrets.environment: {<<: *base, secrets: [value]}
  secrets.file: {<<: *base, secrets: [file]}
END
compose() { docker compose --progress quiet --file "$work/compose.yaml" "$@"; }
value() {
    VALUE=$1 && export VALUE
    echo "VALUE=$1" >"$work/env"
    echo "$1" >"$work/value"
}
# look WHAT: which containers are other ones than at the last look, and what is inside.
look() {
    echo "$1:"
    for service in environment env_file configs.content secrets.environment secrets.file; do
        id=$(compose ps --quiet $service)
        case $service in
            configs.content) inside=$(compose exec -T $service cat /value) ;;
            secrets.*) inside=$(compose exec -T $service sh -c 'cat /run/secrets/*') ;;
            *) inside=$(compose exec -T $service printenv VALUE) ;;
        esac
        [ "$id" = "$(cat "$work/$service" 2>/dev/null)" ] && kept=kept || kept=new
        echo "  $service: container $kept, $inside inside"
        echo "$id" >"$work/$service"
    done
}

{
    value old
    compose up --detach
    look "up"
    value new
    compose up --detach
    look "up with a new value"
    compose restart --timeout 1
    look "restart"
    compose up --detach --force-recreate --timeout 1
    look "up --force-recreate"
} >"$work/seen"
recorded <<'END'
up:
  environment: container new, old inside
  env_file: container new, old inside
  configs.content: container new, old inside
  secrets.environment: container new, old inside
  secrets.file: container new, old inside
up with a new value:
  environment: container new, new inside
  env_file: container new, new inside
  configs.content: container kept, old inside
  secrets.environment: container kept, old inside
  secrets.file: container kept, new inside
restart:
  environment: container kept, new inside
  env_file: container kept, new inside
  configs.content: container kept, old inside
  secrets.environment: container kept, old inside
  secrets.file: container kept, new inside
up --force-recreate:
  environment: container new, new inside
  env_file: container new, new inside
  configs.content: container new, new inside
  secrets.environment: container new, new inside
  secrets.file: container new, new inside
END
