#!/bin/sh
# nginx: `hash KEY consistent` over one name that has several addresses keeps no key anywhere.
#
# Guess, before the run: with `server app:8000 resolve` and three addresses behind "app", each key stays on one address, as it
# does with plain `hash`; `consistent` only moves fewer keys when an address leaves.
# Seen: no key stays. The points on the ring are made from the text of the `server` line, so three addresses of one name are one
# point, and nginx takes them in turn. The same without `resolve`. Plain `hash`, and one `server` line for each address, do stick.
# Why it matters: replicas of a Compose service share one name. Whoever adds `consistent` for caches or sticky sessions gets
# round robin, and no line in any log says so.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx dnsmasq-base python3"

cat >"$work/backends.py" <<'END'
import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.server_address[0].encode())

    def log_message(self, *args):
        pass


for last in (2, 3, 4):
    server = http.server.ThreadingHTTPServer((f"127.0.0.{last}", 8000), Handler)
    threading.Thread(target=server.serve_forever).start()
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    resolver 127.0.0.1:5353 ipv6=off;
    upstream consistent { zone consistent 256k; hash $arg_key consistent; server app:8000 resolve; }
    upstream at_start   { zone at_start   256k; hash $arg_key consistent; server app:8000; }
    upstream plain      { zone plain      256k; hash $arg_key;            server app:8000 resolve; }
    upstream lines      { zone lines      256k; hash $arg_key consistent;
        server 127.0.0.2:8000; server 127.0.0.3:8000; server 127.0.0.4:8000; }
    server {
        listen 127.0.0.1:80;
        location /consistent { proxy_pass http://consistent; }
        location /at_start   { proxy_pass http://at_start; }
        location /plain      { proxy_pass http://plain; }
        location /lines      { proxy_pass http://lines; }
    }
}
END
cat >"$work/ask.py" <<'END'
import urllib.error
import urllib.request


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1{path}", timeout=5) as reply:
        return reply.read()


def ready():  # the names are looked up after the start
    try:
        return get("/consistent") and get("/plain")
    except urllib.error.HTTPError:
        return False


while not ready():
    pass
for upstream in ("consistent", "at_start", "plain", "lines"):
    stayed = sum(len({get(f"/{upstream}?key={key}") for _ in range(6)}) == 1 for key in range(60))
    print(f"{upstream}: {stayed} of 60 keys stayed on one address")
END
in_box sh -eu >"$work/seen" <<'END'
printf '127.0.0.2 app\n127.0.0.3 app\n127.0.0.4 app\n' | tee names >>/etc/hosts
dnsmasq --no-resolv --no-hosts --addn-hosts=/lab/names --listen-address=127.0.0.1 --bind-interfaces --port=5353 --user=root
python3 backends.py &
nginx -c /lab/nginx.conf
python3 ask.py
END
recorded <<'END'
consistent: 0 of 60 keys stayed on one address
at_start: 0 of 60 keys stayed on one address
plain: 60 of 60 keys stayed on one address
lines: 60 of 60 keys stayed on one address
END
