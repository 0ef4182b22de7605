#!/bin/sh
# nginx: a name server that answers A well but fails for AAAA makes the name unknown; every request is a 502.
#
# Guess, before the run: the two lookups are apart, nginx takes the IPv4 addresses it has; as getaddrinfo() does.
# Seen: nginx drops the good A answer when the answer for AAAA is SERVFAIL, REFUSED or NOTIMP, with a variable in proxy_pass (here) and with
# `server NAME resolve` (tried by hand). getaddrinfo() takes the address each time.
# Why it matters: small resolvers (forwarders on a VPN, appliances, filters that refuse AAAA) do this. curl from the same container
# works, and nginx says "could not be resolved (5: Operation refused)". `resolver ... ipv6=off` cures it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3 curl"

cat >"$work/names.py" <<'END'
"""A name server: 127.0.0.1 for A, and for AAAA the code that the name begins with: noerror.app, servfail.app, ..."""

import socket
import struct

CODES = {b"noerror": 0, b"servfail": 2, b"notimp": 4, b"refused": 5}
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    code = 0 if kind == 1 else CODES[query[13 : 13 + query[12]]]
    address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if kind == 1 else b""
    server.sendto(query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, kind == 1, 0, 0) + query[12:end] + address, client)
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    server { listen 127.0.0.1:8000; return 200; }
    server {
        listen 127.0.0.1:80;
        location ~ ^/both/(.*)      { resolver 127.0.0.1;          proxy_pass http://$1:8000/; }
        location ~ ^/ipv6=off/(.*)  { resolver 127.0.0.1 ipv6=off; proxy_pass http://$1:8000/; }
    }
}
END
in_box sh -eu >"$work/seen" <<'END'
echo nameserver 127.0.0.1 >/etc/resolv.conf
python3 names.py 2>names.log &
nginx -c /lab/nginx.conf
until curl --silent --fail --output /dev/null http://127.0.0.1/both/noerror.app; do :; done
for code in noerror servfail notimp refused; do
    python3 -c "import socket; socket.getaddrinfo('$code.app', 80)" 2>/dev/null && found=yes || found=no
    echo "AAAA $code: nginx $(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1/both/$code.app")," \
        "with ipv6=off $(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1/ipv6=off/$code.app"), getaddrinfo $found"
done
END
recorded <<'END'
AAAA noerror: nginx 200, with ipv6=off 200, getaddrinfo yes
AAAA servfail: nginx 502, with ipv6=off 200, getaddrinfo yes
AAAA notimp: nginx 502, with ipv6=off 200, getaddrinfo yes
AAAA refused: nginx 502, with ipv6=off 200, getaddrinfo yes
END
