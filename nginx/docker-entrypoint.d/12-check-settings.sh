#!/bin/sh
# Refuses what could add configuration of its own, or trust too much. Names every wrong setting, then exit
# code 2. Whatever else is wrong nginx itself names.
# shellcheck source=nginx/docker-entrypoint.d/must
. "/docker-entrypoint.d/must"

name='[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?'
host="((\\*?\\.)?$name(\\.$name)*|\\[[0-9a-fA-F:.]+])"
# The widest networks that make sense: /8, and fc00::/7. With all of the Internet every client could choose
# its address.
v4='[0-9.]+(/([89]|[12][0-9]|3[0-2]))?'
v6='[0-9a-fA-F]*:[0-9a-fA-F:]*(/([7-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?'
net="($v4|$v6)"
hsts='max-age=[0-9]{1,9}(; includeSubDomains(; preload)?)?'

must SERVER_NAMES "$host( +$host)*" "names with spaces between them, such as: www.example.org [::1]"
must HEALTH_PATH '/[A-Za-z0-9/._~-]*' "the path of an address, such as /healthz"
must MAX_CONTENT_LENGTH '[1-9][0-9]{0,11}' "bytes from 1 to 999999999999; 10 MiB is 10485760"
must ANSWER_FILE_SIZE '[1-9][0-9]{0,5}[km]' "a size, such as 16m"
must LIMITS 'on|off' "on, or off for a load test"
for setting in REQUESTS WRITES UPLOADS BURST WRITES_BURST UPLOADS_BURST CONNECTIONS; do
    must "LIMIT_$setting" '[1-9][0-9]{0,4}' "a number from 1 to 99999; LIMITS=off lifts all of them"
done
must MAX_IN_FLIGHT '0|[6-9]|[1-9][0-9]{1,4}|100000' "0 (no bound), or requests from 6 to 100000"
must TRUSTED_PROXIES "($net([, ]+$net)*)?" "addresses or networks, /8 (IPv6 /7) at most, such as 10.0.0.0/24"
must MAINTENANCE_ALLOW "($net([, ]+$net)*)?" "addresses or networks, such as 192.0.2.7"
must PROXY_PROTOCOL 'on|off' "on, or off for load balancers that speak HTTP"
must URL_PREFIX '((/[A-Za-z0-9_~-]+)+)?' "a path without a slash at its end, such as /shop, or nothing"
must WAF_MODE 'On|DetectionOnly|Off' "On, DetectionOnly or Off"
must LISTENERS 'http|tls|http3' "http, tls or http3"
must GATEWAY_TLS_PORT '[1-9][0-9]{0,4}' "a port, such as 8443"
must TLS_HSTS "off|$hsts" "off, or a value such as: max-age=63072000; includeSubDomains; preload"
must BASIC_AUTH_PATH '(/[A-Za-z0-9/._~-]*)?' "the beginning of a path, such as /admin"
must MICROCACHE_SECONDS '([1-9][0-9]{0,5})?' "seconds, such as 1"
must APP_MAX_CONNS '[0-9]{0,6}' "requests in flight for each app container, or nothing"
case $PROXY_PROTOCOL:$LISTENERS:$TRUSTED_PROXIES in
    on:*:) echo "PROXY_PROTOCOL=on: name the load balancers in TRUSTED_PROXIES" >&2 && wrong=yes ;;
    on:http3:*) echo "PROXY_PROTOCOL=on: QUIC has none; take LISTENERS=tls" >&2 && wrong=yes ;;
esac

# IPv4 in IPv6: its /96 is all of IPv4.
case $TRUSTED_PROXIES in
    *::[fF][fF][fF][fF]:* | *:0:[fF][fF][fF][fF]:* | *:0000:[fF][fF][fF][fF]:*)
        echo "TRUSTED_PROXIES=$TRUSTED_PROXIES: write IPv4 addresses as IPv4, such as 10.0.0.0/24" >&2
        wrong=yes
        ;;
esac

[ -z "$wrong" ] || exit 2
