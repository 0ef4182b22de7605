#!/bin/sh
# nginx: with two name servers in `resolver`, one that answers SERVFAIL or REFUSED fails half of all lookups; one that is down fails none.
#
# Guess, before the run: as in resolv.conf, the next name server is asked when one fails, whatever way it fails.
# Seen: nginx takes them in turn and takes an error for the answer: half of the names are 502. Only silence makes it ask the other, so a
# name server that is switched off fails no lookup, though each second one takes 5 s. getaddrinfo() finds all names with the bad one first.
# Why it matters: a second name server is added for safety. One that is up but knows nothing (a forwarder without its uplink, a view
# that refuses this network) makes every second lookup a 502, and dig, curl and the Flask site on the same machine see nothing of it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3 curl"

cat >"$work/names.py" <<'END'
"""A name server: every name is 127.0.0.1, or every answer is the code given."""

import socket
import struct
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
code = int(sys.argv[2])
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    found = code == 0 and query[end - 4 : end - 2] == b"\0\1"
    address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if found else b""
    server.sendto(query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, found, 0, 0) + query[12:end] + address, client)
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
        location ~ ^/none/(.*)    { resolver 127.0.0.1           ipv6=off; proxy_pass http://$1:8000/; }
        location ~ ^/servfail/(.*) { resolver 127.0.0.1 127.0.0.2 ipv6=off; proxy_pass http://$1:8000/; }
        location ~ ^/refused/(.*)  { resolver 127.0.0.1 127.0.0.5 ipv6=off; proxy_pass http://$1:8000/; }
        location ~ ^/down/(.*)     { resolver 127.0.0.1 127.0.0.9 ipv6=off; proxy_pass http://$1:8000/; }
    }
}
END
in_box sh -eu >"$work/seen" <<'END'
python3 names.py 127.0.0.1 0 &
python3 names.py 127.0.0.2 2 &
python3 names.py 127.0.0.5 5 &
# Each is there when it answers.
for address in 1 2 5; do
    until python3 -c "
import socket
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(1)
asker.connect(('127.0.0.$address', 53))
asker.send(b'\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1')
asker.recv(512)" 2>/dev/null; do :; done
done
nginx -c /lab/nginx.conf
for second in none servfail refused down; do
    ok=0
    for number in $(seq 8); do
        status=$(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1/$second/$second-$number.example")
        [ "$status" != 200 ] || ok=$((ok + 1))
    done
    echo "nginx, second name server: $second, $ok of 8 names found"
done
printf 'nameserver 127.0.0.2\nnameserver 127.0.0.1\n' >/etc/resolv.conf
python3 -c "
import socket
print('getaddrinfo, first name server servfail:', sum(bool(socket.getaddrinfo(f'{n}.example', 80)) for n in range(8)), 'of 8 names found')"
END
recorded <<'END'
nginx, second name server: none, 8 of 8 names found
nginx, second name server: servfail, 4 of 8 names found
nginx, second name server: refused, 4 of 8 names found
nginx, second name server: down, 8 of 8 names found
getaddrinfo, first name server servfail: 8 of 8 names found
END
