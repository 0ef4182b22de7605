#!/bin/sh
# nginx's syslog over a unix socket: when the reader makes its socket anew, each worker loses the next line.
#
# Guess, before the run: nginx connects again and sends the line that failed; nothing is lost.
# Seen: a worker finds out by the line that it cannot send; it drops that line, says "send() failed" in the error log, and connects again
# for the next one. So one request for each worker is missing, although the new socket was there before it came.
# Why it matters: a log shipper that restarts in a quiet hour takes the first request that each worker answers afterwards with it.
# A site with few requests and many workers loses most of that hour, and a count of requests by this log is short of what was answered.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3"

cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
worker_processes 2;
events {}
http {
    log_format short '$pid $uri';
    access_log syslog:server=unix:/tmp/reader.sock,nohostname short;
    access_log /lab/access.log short;
    server {
        listen 127.0.0.1:8080 reuseport;
        location / { return 200 $pid; }
    }
}
END
cat >"$work/ask.py" <<'END'
import http.client
import itertools
import pathlib
import socket
import subprocess


def reader():
    pathlib.Path("/tmp/reader.sock").unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind("/tmp/reader.sock")
    pathlib.Path("/tmp/reader.sock").chmod(0o666)
    made.setblocking(False)
    return made


def lines(made):
    found = []
    while True:
        try:
            found.append(made.recv(4096).decode().split()[-1])
        except BlockingIOError:
            return " ".join(found) or "nothing"


def ask(client, path):
    client.request("GET", path)
    answer = client.getresponse().read()
    while f" {path}\n" not in pathlib.Path("/lab/access.log").read_text():
        pass  # the lines are written after the answer, this file's last
    return answer


log = reader()
subprocess.run(["nginx", "-c", "/lab/nginx.conf"], check=True)
workers = {}
for number in itertools.count():
    client = http.client.HTTPConnection("127.0.0.1", 8080)
    workers.setdefault(ask(client, f"/who-{number}"), client)
    if len(workers) == 2:
        break
first, second = workers.values()
lines(log)


def both(number):
    for name, client in (("first", first), ("second", second)):
        ask(client, f"/{number}-{name}")


both(1)
print("before:", lines(log))
log.close()
log = reader()
both(2)
both(3)
print("made anew:", lines(log))
log.close()
both(4)
log = reader()
both(5)
both(6)
print("away for one request, then made anew:", lines(log))
END
in_box python3 ask.py >"$work/seen"
in_box sh -c "sed 's/.*#[0-9]*: //; s/, server.*//' error.log | sort | uniq --count | xargs" >>"$work/seen"
recorded <<'END'
before: /1-first /1-second
made anew: /3-first /3-second
away for one request, then made anew: /5-first /5-second /6-first /6-second
4 send() failed (111: Connection refused) while logging to syslog
END
