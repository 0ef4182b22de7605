#!/bin/sh
# HAProxy: when a name has more addresses than fit into 512 bytes, about 30, `server-template` has no server at all; nginx has them all.
#
# Guess, before the run: HAProxy takes the addresses that fit into a DNS answer of 512 bytes and misses the rest.
# Seen: it drops an answer that is marked as cut off and does not ask over TCP: with 40 addresses it has no server. Started with 20 and
# scaled to 40 (tried by hand), it serves from the 20 for its hold time, then answers 503. Its log has "no server available" and no word
# of DNS; `show resolvers` counts "truncated". nginx uses all 40.
# Why it matters: replicas of a Compose service or of a headless Kubernetes service share a name, so scaling up takes the site down half
# a minute later. `accepted_payload_size 8192` in the resolvers section cures it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "haproxy nginx dnsmasq-base python3 curl"

for variant in default larger; do
    cat >"$work/$variant.cfg" <<END
global
    stats socket /tmp/$variant.sock
resolvers dns
    nameserver dnsmasq 127.0.0.1:5353
    $([ $variant = default ] || echo accepted_payload_size 8192)
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen twenty
    bind unix@/tmp/$variant-20
    server-template app 50 twenty.app:8000 resolvers dns init-addr none resolve-prefer ipv4
listen forty
    bind unix@/tmp/$variant-40
    server-template app 50 forty.app:8000 resolvers dns init-addr none resolve-prefer ipv4
END
done
cat >"$work/servers.py" <<'END'
"""Waits until HAProxy has an answer for both names; says how many servers have an address."""

import socket
import sys
import time


def ask(command):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(f"/tmp/{sys.argv[1]}.sock")
        admin.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def servers(name):
    lines = [line.split() for line in ask("show servers state").splitlines()]
    return sum(line[1] == name and line[4].startswith("127.") for line in lines if len(line) > 4)


def truncated():
    return int(ask("show resolvers dns").split("truncated:")[1].split()[0])


while not servers("twenty") or not (servers("forty") or truncated() > 1):
    time.sleep(0.2)
for name in ("twenty", "forty"):
    print(f"HAProxy, {sys.argv[1]} accepted_payload_size, {name} addresses: {servers(name)} servers")
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    log_format address $upstream_addr;
    access_log off;
    resolver 127.0.0.1:5353 ipv6=off;
    upstream forty { zone forty 256k; server forty.app:8000 resolve; }
    server { listen 8000; return 200; }
    server { listen 127.0.0.1:80; access_log /lab/access.log address; location / { proxy_pass http://forty; } }
}
END
in_box sh -eu >"$work/seen" <<'END'
for number in $(seq 40); do
    echo "127.0.1.$number forty.app"
    [ "$number" -gt 20 ] || echo "127.0.1.$number twenty.app"
done >names
dnsmasq --no-resolv --no-hosts --addn-hosts=/lab/names --listen-address=127.0.0.1 --bind-interfaces --port=5353 --user=root
for variant in default larger; do
    haproxy -db -f $variant.cfg >>haproxy.log 2>&1 &
    until [ -S /tmp/$variant.sock ]; do :; done
    python3 servers.py $variant
done
nginx -c /lab/nginx.conf
until curl --silent --fail --output /dev/null http://127.0.0.1/; do :; done
for request in $(seq 79); do curl --silent --fail --output /dev/null "http://127.0.0.1/$request"; done
echo "nginx, forty addresses: $(grep '^127.0.1' access.log | sort -u | wc -l) servers"
END
recorded <<'END'
HAProxy, default accepted_payload_size, twenty addresses: 20 servers
HAProxy, default accepted_payload_size, forty addresses: 0 servers
HAProxy, larger accepted_payload_size, twenty addresses: 20 servers
HAProxy, larger accepted_payload_size, forty addresses: 40 servers
nginx, forty addresses: 40 servers
END
