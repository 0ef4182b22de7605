#!/bin/sh
# Early Hints (103) through proxies: Vinyl Cache (Varnish until 2026) makes 503 of the page, behind Pound the visitor gets 103 and no page.
#
# Guess, before the run: HAProxy, lighttpd, nghttpx and Pound hand the 103 on or leave it out, Squid and Vinyl Cache leave it out;
# the page comes in every case.
# Seen: HAProxy, lighttpd, nghttpx and Squid hand it on. Vinyl Cache takes the 103 for a broken answer: 503, for every page that hints.
# Pound takes it for the whole answer, hands it on and waits for the next request: the page never comes. The view ran each time, and
# gunicorn logs a 200.
# Why it matters: gunicorn gives every view wsgi.early_hints. A framework or a view that begins to use it takes the site down behind
# these two, and no log of the application shows it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "haproxy lighttpd nghttp2-proxy pound squid vinyl-cache curl python3-venv" "gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
from flask import Flask, request

app = Flask(__name__)


@app.get("/plain")
def plain():
    return "the page"


@app.get("/hints")
def hints():
    request.environ["wsgi.early_hints"]([("Link", "</site.css>; rel=preload; as=style")])
    return "the page"
END
cat >"$work/haproxy.cfg" <<'END'
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen site
    bind 127.0.0.1:8001
    server app 127.0.0.1:8000
END
cat >"$work/lighttpd.conf" <<'END'
server.document-root = "/tmp"
server.bind = "127.0.0.1"
server.port = 8002
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => 8000)))
END
cat >"$work/pound.cfg" <<'END'
Daemon 0
LogLevel 0
ListenHTTP
    Address 127.0.0.1
    Port 8004
    Service
        Backend
            Address 127.0.0.1
            Port 8000
        End
    End
End
END
cat >"$work/squid.conf" <<'END'
http_port 127.0.0.1:8005 accel defaultsite=localhost
cache_peer 127.0.0.1 parent 8000 0 no-query originserver
http_access allow all
cache deny all
visible_hostname localhost
pid_filename /tmp/squid.pid
cache_log /lab/squid.log
access_log none
END
in_box sh -eu >"$work/seen" <<'END'
gunicorn --no-control-socket --threads 4 --bind 127.0.0.1:8000 --access-logfile access.log --access-logformat '%(U)s %(s)s' \
    app:app 2>server.log &
haproxy -db -f haproxy.cfg >proxies.log 2>&1 &
lighttpd -D -f lighttpd.conf >>proxies.log 2>&1 &
nghttpx --frontend='127.0.0.1,8003;no-tls' --backend=127.0.0.1,8000 --workers=1 >>proxies.log 2>&1 &
pound -f pound.cfg >>proxies.log 2>&1 &
squid -N -f squid.conf >>proxies.log 2>&1 &
vinyld -F -a 127.0.0.1:8006 -b 127.0.0.1:8000 -n /tmp/vinyl >>proxies.log 2>&1 &
port=8000
for proxy in gunicorn HAProxy lighttpd nghttpx Pound Squid Vinyl; do
    until [ "$(curl --silent --max-time 10 "http://127.0.0.1:$port/plain")" = "the page" ]; do :; done
    : >access.log
    curl --silent --max-time 5 --include "http://127.0.0.1:$port/hints" >answer && code=0 || code=$?
    echo "$proxy: $(grep -o '^HTTP/1.1 [0-9]*' answer | cut -d ' ' -f 2 | xargs), $(grep -o 'the page' answer || echo no page), curl exit $code"
    until grep --quiet hints access.log; do :; done
    echo "    gunicorn logs: $(grep hints access.log)"
    port=$((port + 1))
done
END
recorded <<'END'
gunicorn: 103 200, the page, curl exit 0
    gunicorn logs: /hints 200
HAProxy: 103 200, the page, curl exit 0
    gunicorn logs: /hints 200
lighttpd: 103 200, the page, curl exit 0
    gunicorn logs: /hints 200
nghttpx: 103 200, the page, curl exit 0
    gunicorn logs: /hints 200
Pound: 103, no page, curl exit 28
    gunicorn logs: /hints 200
Squid: 103 200, the page, curl exit 0
    gunicorn logs: /hints 200
Vinyl: 503, no page, curl exit 0
    gunicorn logs: /hints 200
END
