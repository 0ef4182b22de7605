#!/bin/bash
# Entrypoint of the postgres stand-in: makes the database on the first start, then becomes postgres (pid 1, so
# that the engine's stop signal reaches it). Honours POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB and
# POSTGRES_INITDB_ARGS, each also as <NAME>_FILE, and POSTGRES_HOST_AUTH_METHOD.
set -euo pipefail

fail() {
    echo "Error: $1" >&2
    exit 1
}

# setting NAME DEFAULT: exports NAME from the environment, from the file that NAME_FILE names, or as DEFAULT.
setting() {
    local name=$1 file_name=${1}_FILE value=$2
    if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
        fail "$name and $file_name are both set; set one of them."
    fi
    if [[ -n ${!name:-} ]]; then
        value=${!name}
    elif [[ -n ${!file_name:-} ]]; then
        value=$(<"${!file_name}") || fail "$file_name=${!file_name} cannot be read by uid $(id -u)."
    fi
    export "$name=$value"
    unset "$file_name"
}

# As root: hand the folders to postgres and start over as that user. Chown fails on a read-only or foreign mount,
# which is the folder's owner's decision; postgres itself then says what it cannot write.
drop_root() {
    install -d -m 700 "$PGDATA"
    install -d -m 3775 /var/run/postgresql || true
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' + || true
    exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
}

create_cluster() {
    if [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]]; then
        fail "the database is new and has no superuser password; set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE."
    fi
    local -a arguments
    read -ra arguments <<<"$POSTGRES_INITDB_ARGS"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    # Local connections stay as initdb made them (trust); those over the network need the password.
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

# A server that no network client can reach, for as long as it takes to create the database. Like the public
# image's it answers on the Unix socket: a health check must ask over TCP, or it sees "ready" too early.
create_database() {
    [[ $POSTGRES_DB == postgres ]] && return
    PGUSER=$POSTGRES_USER pg_ctl --wait -o "-c listen_addresses=''" start
    PGPASSWORD=$POSTGRES_PASSWORD psql --no-psqlrc --username="$POSTGRES_USER" --dbname=postgres --set=ON_ERROR_STOP=1 \
        --set=name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    PGUSER=$POSTGRES_USER pg_ctl --wait --mode=fast stop
}

# Questions that need no database: postgres answers them itself.
only_asks() {
    local argument
    for argument in "$@"; do
        case $argument in
            -\? | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

[[ ${1:-} == -* ]] && set -- postgres "$@"
if [[ ${1:-} == postgres ]] && ! only_asks "$@"; then
    [[ $(id -u) -ne 0 ]] || drop_root "$@"
    setting POSTGRES_PASSWORD ''
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS ''
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        install -d -m 700 "$PGDATA"
        create_cluster
        create_database
    fi
    unset POSTGRES_PASSWORD
fi
exec "$@"
