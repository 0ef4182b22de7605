#!/bin/sh
# Refuses what could add configuration, or trust too much, and names all of it: exit code 2. Whatever else is
# wrong nginx itself names. The WAF has this file too: what is not set is not checked.
set -eu
export LC_ALL=C wrong=
# must NAME EXPRESSION "what would be right"
must() {
    eval "value=\${$1-}; [ -n \"\${$1+set}\" ]" || return 0
    # shellcheck disable=SC2154 # set by eval. Control characters first: grep looks at lines.
    case $value in
        *[[:cntrl:]]*) echo "$1: contains a newline or another control character; write it on one line" ;;
        *) printf '%s\n' "$value" | grep -Eqx -e "$2" && return || echo "$1=$value: write $3" ;;
    esac >&2
    wrong=yes
}
name='[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?'
host="((\\*?\\.)?$name(\\.$name)*|\\[[0-9a-fA-F:.]+])"
# /8 and fc00::/7 at most: with all of the Internet every client could choose its address.
v4='[0-9.]+(/([89]|[12][0-9]|3[0-2]))?'
v6='[0-9a-fA-F]*:[0-9a-fA-F:]*(/([7-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?'
# shellcheck disable=SC2034 # for check-*
net="($v4|$v6)"
server='([0-9.]+|\[[0-9a-fA-F:]+])(:[0-9]{1,5})?'
must SERVER_NAMES "$host( +$host)*" "names with spaces between them, such as: www.example.org [::1]"
must HEALTH_PATH '/[A-Za-z0-9/._~-]*' "the path of an address, such as /healthz"
must MAX_CONTENT_LENGTH '[1-9][0-9]{0,11}' "bytes from 1 to 999999999999; 10 MiB is 10485760"
must ANSWER_FILE_SIZE '[1-9][0-9]{0,5}[km]' "a size, such as 16m"
must GUNICORN_TIMEOUT '([1-9][0-9]{0,4})?' "seconds from 1 to 99999, such as 30"
must LIMITS 'on|off' "on, or off for a load test"
for setting in REQUESTS WRITES UPLOADS BURST WRITES_BURST UPLOADS_BURST CONNECTIONS; do
    must "LIMIT_$setting" '[1-9][0-9]{0,4}' "a number from 1 to 99999; LIMITS=off lifts all of them"
done
must MAX_IN_FLIGHT '0|[6-9]|[1-9][0-9]{1,4}|100000' "0 (no bound), or requests from 6 to 100000"
[ -n "${TRUSTED_PROXIES-}" ] || must PROXY_PROTOCOL off "off, or name the load balancers in TRUSTED_PROXIES"
must PROXY_PROTOCOL 'on|off' "on, or off for load balancers that speak HTTP"
must GATEWAY_TLS_PORT '[1-9][0-9]{0,4}' "a port, such as 8443"
must TLS_HSTS 'off|max-age=[0-9]{1,9}(; includeSubDomains(; preload)?)?' "off, or such as: max-age=300"
must NGINX_WORKER_PROCESSES '([1-9][0-9]{0,2})?' "a number of processes, or nothing"
must NGINX_WORKER_CONNECTIONS '(6[4-9]|[7-9][0-9]|[1-9][0-9]{2,6})?' "64 to 9999999 connections, or nothing"
must APP_HOST "($name(\\.$name)*)?" "a name in DNS, such as app, or nothing"
must NGINX_LOCAL_RESOLVERS "($server( +$server)*)?" "addresses of DNS servers, such as 127.0.0.11"
must APP_MAX_CONNS '[0-9]{0,6}' "requests in flight for each app container, or nothing"
must BASIC_AUTH_PATH '(/[A-Za-z0-9/._~-]*)?' "the beginning of a path, such as /admin"
must MICROCACHE_SECONDS '([1-9][0-9]{0,5})?' "seconds, such as 1"
must TRACES_SAMPLED '(([1-9][0-9]?|100)%|[0-9]{1,2}\.[0-9]?[1-9]%)?' "a share, 0.01% to 100%"

# Parts that a copy may lack (make eject, --with NAME): their own rows, or what asks for them is refused.
part() {
    rows="/docker-entrypoint.d"/check-$1
    # shellcheck source=/dev/null
    if [ -e "$rows" ]; then . "$rows"; else must "$2" "$3" "${3:-nothing}, or make eject, --with $1"; fi
}
part load-balancers TRUSTED_PROXIES ''
part maintenance MAINTENANCE_ALLOW ''
part tls LISTENERS http
part url-prefix URL_PREFIX ''
part waf WAF_MODE Off
part websockets WEBSOCKET_PATHS ''
[ -z "$wrong" ] || exit 2
