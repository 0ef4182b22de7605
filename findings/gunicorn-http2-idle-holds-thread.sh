#!/bin/sh
# gunicorn gthread: an idle HTTP/2 connection from nginx keeps a thread for the whole keepalive time; an idle HTTP/1.1 one keeps none.
#
# Guess, before the run: with `proxy_http_version 2` towards gunicorn idle connections wait in the poller, as with HTTP/1.1.
# Seen: two idle HTTP/2 connections take both threads of a worker. A third request, from another nginx upstream, is not answered until
# one of them has been idle for gunicorn's keepalive; over HTTP/1.1 it is answered at once.
# Why it matters: nginx 1.30 can speak HTTP/2 to upstreams and keeps idle connections by default, one set for each of its own processes.
# Raising --keep-alive above nginx's 60 s, right for HTTP/1.1, then parks all threads of a site that does nothing.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3-venv curl" "gunicorn[http2]==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import threading

from flask import Flask

app = Flask(__name__)
both = threading.Barrier(2)  # two requests that can only end together use two connections


@app.get("/pair")
def pair():
    both.wait(20)
    return ""


@app.get("/")
def index():
    return ""
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    # Two upstreams with the same server stand for two nginx processes: each keeps its own idle connections.
    upstream http1 { server 127.0.0.1:8001; }
    upstream http1_again { server 127.0.0.1:8001; }
    upstream http2 { server 127.0.0.1:8002; }
    upstream http2_again { server 127.0.0.1:8002; }
    server {
        listen 127.0.0.1:80;
        location /http1/       { proxy_pass http://http1/; }
        location /http1_again/ { proxy_pass http://http1_again/; }
        location /http2/       { proxy_pass http://http2/;       proxy_http_version 2; }
        location /http2_again/ { proxy_pass http://http2_again/; proxy_http_version 2; }
    }
}
END
in_box sh -eu >"$work/seen" <<'END'
nginx -c /lab/nginx.conf
for protocol in http1 http2; do
    touch $protocol.log
    gunicorn --no-control-socket --threads 2 --keep-alive 90 --http-protocols h2,h1 --http2-cleartext both \
        --bind "127.0.0.1:800${protocol#http}" app:app 2>>$protocol.log &
    until grep -q Booting $protocol.log; do :; done
    curl --silent --max-time 20 "http://127.0.0.1/$protocol/pair" &
    curl --silent --max-time 20 "http://127.0.0.1/$protocol/pair"
    wait $!
    status=$(curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "http://127.0.0.1/${protocol}_again/") ||
        status="no answer in 10 s"
    echo "$protocol: two threads, two idle connections, one more request: $status"
done
END
recorded <<'END'
http1: two threads, two idle connections, one more request: 200
http2: two threads, two idle connections, one more request: no answer in 10 s
END
