#!/bin/sh
# The upstream closes an idle connection just as the next request goes out on it: nginx, Apache, HAProxy and Squid, four answers.
#
# Guess, before the run: nginx and Squid send a GET again and answer a POST with 502; Apache and HAProxy send nothing again, 502 for both.
# Seen: nginx as guessed. Apache says 502 only on the first request of a client's connection; on a later one, and HAProxy always there,
# it closes the client's connection without an answer, GET or POST. HAProxy never puts the first request of a client on an old
# connection, and Squid never a POST: these cannot fail so.
# Why it matters: it is what gunicorn's keepalive of 2 s does behind a proxy that keeps connections for longer. Behind HAProxy or Apache
# no 5xx is counted, clients see "connection closed", and a load test whose client sends a GET again by itself sees nothing.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx apache2 haproxy squid python3"

cat >"$work/nginx.conf" <<'END'
error_log /lab/nginx.log;
pid /tmp/nginx.pid;
daemon off;
events {}
http {
    access_log off;
    upstream app { server 127.0.0.1:8000; }
    server { listen 127.0.0.1:8080; location / { proxy_pass http://app; } }
}
END
cat >"$work/apache.conf" <<'END'
ServerRoot /etc/apache2
ServerName localhost
PidFile /tmp/apache.pid
ErrorLog /lab/apache.log
Listen 127.0.0.1:8080
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
User www-data
Group www-data
# One process, so that the connection that was kept is the one that is used.
StartServers 1
ServerLimit 1
ProxyPass / http://127.0.0.1:8000/
END
cat >"$work/haproxy.cfg" <<'END'
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen site
    bind 127.0.0.1:8080
    server app 127.0.0.1:8000
END
cat >"$work/squid.conf" <<'END'
http_port 127.0.0.1:8080 accel defaultsite=localhost
cache_peer 127.0.0.1 parent 8000 0 no-query originserver
http_access allow all
cache deny all
visible_hostname localhost
pid_filename /tmp/squid.pid
cache_log /lab/squid.log
access_log none
shutdown_lifetime 1 second
END
cat >"$work/ask.py" <<'END'
import http.client
import socket
import socketserver
import subprocess
import threading

PROXIES = {
    "nginx": "nginx -c /lab/nginx.conf",
    "Apache": "apache2 -f /lab/apache.conf -DFOREGROUND",
    "HAProxy": "haproxy -db -f /lab/haproxy.cfg",
    "Squid": "squid -N -f /lab/squid.conf",
}
arrivals = []


class Upstream(socketserver.StreamRequestHandler):
    """Keeps its connections, but closes one when a request for /last is not the first on it."""

    def handle(self):
        requests = 0
        while line := self.rfile.readline():
            length = 0
            while (field := self.rfile.readline()) not in (b"\r\n", b""):
                if field.lower().startswith(b"content-length:"):
                    length = int(field.split(b":")[1])
            self.rfile.read(length)
            requests += 1
            if b" /last" in line:
                arrivals.append(requests)
                if requests > 1:
                    return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a proxy that leaves may reset its connections


def ask(client, method, path):
    try:
        client.request(method, path, b"body" if method == "POST" else None)
        reply = client.getresponse()
        reply.read()
        return str(reply.status)
    except http.client.RemoteDisconnected:
        return "closed without an answer"


threading.Thread(target=Server(("127.0.0.1", 8000), Upstream).serve_forever, daemon=True).start()
for proxy, command in PROXIES.items():
    with open("/lab/proxy.log", "w") as log:
        process = subprocess.Popen(command.split(), stdout=log, stderr=log)
    while True:
        try:
            socket.create_connection(("127.0.0.1", 8080)).close()
            break
        except OSError:
            continue
    for client_is in ("new", "known"):
        results = []
        for method in ("GET", "POST"):
            for _ in range(5):  # a busy proxy may not have put the connection away when a new client comes
                client = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
                ask(client, "GET", "/first")
                if client_is == "new":
                    client = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
                arrivals.clear()
                answer = ask(client, method, "/last")
                if arrivals != [1]:
                    break
            on = "a new connection" if arrivals == [1] else "an old one" if len(arrivals) == 1 else "an old one, then again"
            results.append(f"{method} sent on {on}: {answer}")
        print(f"{proxy}, {client_is} client connection:", "; ".join(results))
    process.terminate()
    process.wait()
END
in_box python3 ask.py >"$work/seen"
recorded <<'END'
nginx, new client connection: GET sent on an old one, then again: 200; POST sent on an old one: 502
nginx, known client connection: GET sent on an old one, then again: 200; POST sent on an old one: 502
Apache, new client connection: GET sent on an old one: 502; POST sent on an old one: 502
Apache, known client connection: GET sent on an old one: closed without an answer; POST sent on an old one: closed without an answer
HAProxy, new client connection: GET sent on a new connection: 200; POST sent on a new connection: 200
HAProxy, known client connection: GET sent on an old one: closed without an answer; POST sent on an old one: closed without an answer
Squid, new client connection: GET sent on an old one, then again: 200; POST sent on a new connection: 200
Squid, known client connection: GET sent on an old one, then again: 200; POST sent on a new connection: 200
END
