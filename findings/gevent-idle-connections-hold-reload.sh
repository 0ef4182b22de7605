#!/bin/sh
# gunicorn gevent: at SIGHUP the old worker stays as long as one idle kept-alive connection is open, up to graceful_timeout.
#
# Guess, before the run: an idle connection has no request to wait for, so the old worker closes it and goes, as gthread's does.
# Seen: gthread's old worker goes while the client keeps its connection open. gevent's is still there after 10 s, and goes when the
# client closes the connection.
# Why it matters: behind an nginx that keeps upstream connections (60 s by default) each reload runs old and new code side by side for
# the whole graceful_timeout, with the memory of both. Let nginx close first: a short keepalive_timeout in the upstream block.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv" "gunicorn[gevent]==27.0.1"

cat >"$work/ask.py" <<'END'
import http.client
import os
import signal
import subprocess
import time


def application(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def pid_that_answers(client):
    client.request("GET", "/")
    return int(client.getresponse().read())


def connect():
    return http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return "gone" if not lives(pid) else "still there"


if __name__ == "__main__":
    for kind, patience in (("gthread", 30), ("gevent", 10)):
        command = f"gunicorn --no-control-socket --worker-class {kind} --keep-alive 90 --graceful-timeout 90 --bind 127.0.0.1:8000 ask:application"
        with open(f"{kind}.log", "w") as log:
            master = subprocess.Popen(command.split(), stderr=log)
        while "Booting" not in open(f"{kind}.log").read():
            time.sleep(0.1)
        idle = connect()
        old = pid_that_answers(idle)
        master.send_signal(signal.SIGHUP)
        print(f"{kind}, one idle connection: old worker {gone_within(old, patience)}", end="")
        idle.close()
        print(f"; closed: {gone_within(old, 30)}")
        master.terminate()
        master.wait()
END
in_box python3 ask.py >"$work/seen"
recorded <<'END'
gthread, one idle connection: old worker gone; closed: gone
gevent, one idle connection: old worker still there; closed: gone
END
