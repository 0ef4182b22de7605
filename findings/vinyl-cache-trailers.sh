#!/bin/sh
# Vinyl Cache (Varnish until 2026) breaks every chunked answer that has a trailer: 503, or a 200 without its end.
#
# Guess, before the run: HAProxy, nghttpx and Pound hand the trailer on, nginx, Squid and Vinyl Cache leave it out; every answer is whole.
# Seen: HAProxy leaves it out for a client that does not ask for trailers; Vinyl Cache takes it for an error in the body. When that has
# begun to send, the answer ends without its last chunk; otherwise it is 503.
# Why it matters: Server-Timing and checksums are sent as trailers, by Node in one line and by ASGI's http.response.trailers. The pages
# that have one are broken behind this cache, for every client, while the backend logs 200.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "haproxy nginx nghttp2-proxy pound squid vinyl-cache curl python3"

cat >"$work/server.py" <<'END'
import http.server


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        trailer = b"Server-Timing: view;dur=2\r\n" if self.path.startswith("/trailer") else b""
        self.wfile.write(b"8\r\nthe page\r\n0\r\n" + trailer + b"\r\n")

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Upstream).serve_forever()
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/nginx.log;
pid /tmp/nginx.pid;
daemon off;
events {}
http {
    access_log off;
    server { listen 127.0.0.1:8001; location / { proxy_pass http://127.0.0.1:8000; } }
}
END
cat >"$work/haproxy.cfg" <<'END'
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen site
    bind 127.0.0.1:8002
    server app 127.0.0.1:8000
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
python3 server.py &
nginx -c /lab/nginx.conf >proxies.log 2>&1 &
haproxy -db -f haproxy.cfg >>proxies.log 2>&1 &
nghttpx --frontend='127.0.0.1,8003;no-tls' --backend=127.0.0.1,8000 --workers=1 >>proxies.log 2>&1 &
pound -f pound.cfg >>proxies.log 2>&1 &
squid -N -f squid.conf >>proxies.log 2>&1 &
vinyld -F -a 127.0.0.1:8006 -b 127.0.0.1:8000 -n /tmp/vinyl >>proxies.log 2>&1 &
ask() {
    code=0
    curl --silent --max-time 10 --dump-header fields --output page "$@" || code=$?
    status=$(head -n 1 fields | cut -d ' ' -f 2)
    if [ "$code $status $(cat page)" = "0 200 the page" ]; then
        echo "whole, trailer $(grep --quiet Server-Timing fields && echo handed on || echo left out)"
    elif [ "$status" = 503 ] || [ "$code" = 18 ]; then
        echo broken
    else
        echo "curl exit $code, $status"
    fi
}
port=8000
for proxy in straight nginx HAProxy nghttpx Pound Squid Vinyl; do
    here=http://127.0.0.1:$port
    until [ "$(curl --silent --max-time 10 "$here/plain")" = "the page" ]; do :; done
    echo "$proxy: without a trailer $(ask "$here/plain?1" | cut -d , -f 1); with one $(ask "$here/trailer?1"); with one and a cookie $(ask --cookie a=b "$here/trailer?2")"
    port=$((port + 1))
done
END
recorded <<'END'
straight: without a trailer whole; with one whole, trailer handed on; with one and a cookie whole, trailer handed on
nginx: without a trailer whole; with one whole, trailer left out; with one and a cookie whole, trailer left out
HAProxy: without a trailer whole; with one whole, trailer left out; with one and a cookie whole, trailer left out
nghttpx: without a trailer whole; with one whole, trailer handed on; with one and a cookie whole, trailer handed on
Pound: without a trailer whole; with one whole, trailer handed on; with one and a cookie whole, trailer handed on
Squid: without a trailer whole; with one whole, trailer left out; with one and a cookie whole, trailer left out
Vinyl: without a trailer whole; with one broken; with one and a cookie broken
END
