#!/bin/sh
# Refuses what could add configuration of its own. Names every wrong setting, then exit code 2. Whatever
# else is wrong nginx itself names.
set -eu
export LC_ALL=C
wrong=

# must NAME EXPRESSION "what would be right"
must() {
    eval "value=\${$1-}"
    # Control characters first: grep looks at lines, and a newline would hide what follows it.
    # shellcheck disable=SC2154 # set by eval
    case $value in
        *[[:cntrl:]]*) echo "$1: contains a newline or another control character; write it on one line" ;;
        *) printf '%s\n' "$value" | grep -Eqx -e "$2" && return || echo "$1=$value: write $3" ;;
    esac >&2
    wrong=yes
}

# A star stands for a part of what follows the slash, never for all of it: */* would let every body pass
# uninspected.
type='[a-z0-9.+-]+/[a-z0-9.+-]*([a-z0-9.+-]|[*][a-z0-9.+-]+|[a-z0-9.+-][*])'

must WAF_MODE 'On|DetectionOnly|Off' "On, DetectionOnly or Off"
must WAF_PARANOIA '[1-4]' "a level from 1 to 4"
must WAF_ANOMALY_THRESHOLD '[1-9][0-9]{0,2}|1000' "a score from 1 to 1000"
must WAF_SAMPLING '[1-9][0-9]?|100' "a percentage from 1 to 100"
must WAF_BODY_LIMIT '6553[6-9]|655[4-9][0-9]|65[6-9][0-9]{2}|6[6-9][0-9]{3}|[7-9][0-9]{4}|[1-9][0-9]{5,7}' \
    "a number of bytes from 65536 to 99999999"
must WAF_VALUES '[1-9][0-9]{2,3}|1[0-9]{4}' "a number from 100 to 19999"
must WAF_METHODS '[A-Z]+( +[A-Z]+)*' "methods with spaces between them, such as: GET HEAD POST"
must WAF_CONTENT_TYPES "$type( +$type)*" "types with spaces between them, such as: application/json text/csv"
must WAF_RULES_DIR '/[^"\\$]*' "the absolute path of a folder, such as /srv/coreruleset-4.28.0"
must NGINX_WORKER_PROCESSES '([1-9][0-9]{0,2})?' "a number of processes, or nothing"
must NGINX_WORKER_CONNECTIONS '(6[4-9]|[7-9][0-9]|[1-9][0-9]{2,6})?' "64 to 9999999 connections, or nothing"
server='([0-9.]+|\[[0-9a-fA-F:]+])(:[0-9]{1,5})?'
must NGINX_LOCAL_RESOLVERS "($server( +$server)*)?" "addresses of DNS servers, such as 127.0.0.11"
must HEALTH_PATH '/[A-Za-z0-9/._~-]*' "the path of an address, such as /healthz"

[ -z "$wrong" ] || exit 2
