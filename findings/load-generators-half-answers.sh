#!/bin/sh
# Half an answer, or none: what load generators count. hey says 200 for every half, ab "complete" for no answer at all.
#
# Guess, before the run: ab takes half an answer for a success when the connection just closes; hey and wrk call everything that is
# not whole an error. No answer is an error for all three.
# Seen: hey never looks at an error in the body: status 200, no error, whether it ends early, lacks its last chunk or is reset. ab
# counts a connection that closes without a byte as complete and not failed; only a reset stops it. The rest as guessed.
# Why it matters: a worker that is killed in the middle of its answers is what a rollout or a timeout test looks for. hey
# finds none of them, ab not even the requests that nobody answered.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "apache2-utils hey wrk python3"

cat >"$work/server.py" <<'END'
import socket
import socketserver
import struct
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
ANSWERS = {
    b"/whole": HEAD + b"Connection: close\r\nContent-Length: 8\r\n\r\nabcdefg\n",
    b"/half": HEAD + b"Content-Length: 16\r\n\r\nabcdefg\n",
    b"/chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n8\r\nabcdefg\n\r\n",
    b"/reset": HEAD + b"Content-Length: 16\r\n\r\nabcdefg\n",
    b"/none": b"",
}


class Upstream(socketserver.BaseRequestHandler):
    def handle(self):
        request = b""
        while b"\r\n\r\n" not in request:
            piece = self.request.recv(4096)
            if not piece:
                return
            request += piece
        path = request.split()[1]
        self.request.sendall(ANSWERS[path])
        if path == b"/reset":
            time.sleep(0.05)  # until the half is read
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, client_address):
        pass  # wrk leaves when its second is over


Server(("127.0.0.1", 8000), Upstream).serve_forever()
END
cat >"$work/ask.py" <<'END'
import re
import socket
import subprocess


def run(command):
    process = subprocess.run(command.split(), capture_output=True, text=True, timeout=30)
    return process.stdout + process.stderr


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def ab(url):
    text = run(f"ab -q -n 4 -c 1 {url}")
    if "apr_socket_recv" in text:
        return "stops with an error"
    return f"{number(r'Complete requests: +([0-9]+)', text)} complete, {number(r'Failed requests: +([0-9]+)', text)} failed"


def hey(url):
    text = run(f"hey -n 4 -c 1 {url}")
    good, bad = number(r"\[200\]\s+([0-9]+) responses", text), number(r"Error distribution:\s+\[([0-9]+)\]", text)
    return f"{good} times 200, {bad} errors"


def wrk(url):
    text = run(f"wrk -t 1 -c 1 -d 1 {url}")
    good, bad = number(r"([0-9]+) requests in", text), number(r"read ([0-9]+), write", text)
    return f"{'some' if good else 'no'} requests, {'some' if bad else 'no'} errors"


server = subprocess.Popen(["python3", "server.py"])
while True:
    try:
        socket.create_connection(("127.0.0.1", 8000)).close()
        break
    except OSError:
        continue
for path in ("whole", "half", "chunked", "reset", "none"):
    url = f"http://127.0.0.1:8000/{path}"
    print(f"{path}: ab {ab(url)}; hey {hey(url)}; wrk {wrk(url)}")
server.terminate()
END
in_box python3 ask.py >"$work/seen"
recorded <<'END'
whole: ab 4 complete, 0 failed; hey 4 times 200, 0 errors; wrk some requests, no errors
half: ab 4 complete, 0 failed; hey 4 times 200, 0 errors; wrk no requests, some errors
chunked: ab 4 complete, 0 failed; hey 4 times 200, 0 errors; wrk no requests, some errors
reset: ab stops with an error; hey 4 times 200, 0 errors; wrk no requests, some errors
none: ab 4 complete, 0 failed; hey 0 times 200, 4 errors; wrk no requests, some errors
END
