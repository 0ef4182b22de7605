#!/bin/sh
# Locust: FastHttpUser sends a GET again by itself when the server closes a kept connection under it, and counts no failure.
#
# Guess, before the run: FastHttpUser and HttpUser both report a request whose connection was closed without an answer.
# Seen: HttpUser reports each, GET and POST. FastHttpUser reports the POSTs; a GET goes out a second time on a new connection, and the
# statistics show one success.
# Why it matters: a rollout or a too short keepalive that loses requests looks clean in a load test of GETs. Count what the
# gateway's access log says, or test with POST.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv" "locust==2.47.0 geventhttpclient==2.6.1"

cat >"$work/upstream.py" <<'END'
"""Answers the first request of each connection and closes at the second; /cuts says how many of these there were."""

import socketserver

cuts = {"GET": 0, "POST": 0}


class Upstream(socketserver.StreamRequestHandler):
    def handle(self):
        for request in range(2):
            method, path, _ = self.rfile.readline().decode().split()
            length = 0
            while (field := self.rfile.readline()) not in (b"\r\n", b""):
                if field.lower().startswith(b"content-length:"):
                    length = int(field.split(b":")[1])
            self.rfile.read(length)
            if request:
                cuts[method] += 1
                return
            body = str(cuts).encode() if path == "/cuts" else b"ok"
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that leaves in the middle


with Server(("127.0.0.1", 8000), Upstream) as server:
    server.serve_forever()
END
cat >"$work/locustfile.py" <<'END'
import os

from locust import FastHttpUser, HttpUser, events, task


class User(FastHttpUser if os.environ["USER_CLASS"] == "FastHttpUser" else HttpUser):
    @task
    def twenty_each(self):
        for _ in range(20):
            self.client.get("/")
        for _ in range(20):
            self.client.post("/", data=b"x")
        self.environment.runner.quit()


@events.test_stop.add_listener
def count(environment, **kwargs):
    for method in ("GET", "POST"):
        entry = environment.stats.get("/", method)
        print(f"COUNT {os.environ['USER_CLASS']} {method}: {entry.num_requests} counted, {entry.num_failures} failures", flush=True)
END
in_box sh -eu >"$work/seen" <<'END'
for class in HttpUser FastHttpUser; do
    python3 upstream.py &
    server=$!
    until python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/")' 2>/dev/null; do :; done
    USER_CLASS=$class locust --headless --users 1 --host http://127.0.0.1:8000 --only-summary >locust.log 2>&1 || :
    sed -n 's/^COUNT //p' locust.log
    python3 -c 'import urllib.request; print("closed by the server:", urllib.request.urlopen("http://127.0.0.1:8000/cuts").read().decode())'
    kill $server
    wait $server || :
done
END
recorded <<'END'
HttpUser GET: 20 counted, 10 failures
HttpUser POST: 20 counted, 10 failures
closed by the server: {'GET': 10, 'POST': 10}
FastHttpUser GET: 20 counted, 0 failures
FastHttpUser POST: 20 counted, 10 failures
closed by the server: {'GET': 19, 'POST': 10}
END
