#!/bin/sh
# nginx: an Early Hints answer (103) that comes by uwsgi_pass is taken for the final one; visitors with HTTP/2 get an error.
#
# Guess, before the run: nginx 1.29 and later know 103 from every kind of upstream and leave it out unless `early_hints` is set, so a view
# that calls wsgi.early_hints works the same by proxy_pass and by uwsgi_pass.
# Seen: by proxy_pass it is left out. By uwsgi_pass the page has status 103, in the access log too, and the real answer, status line and
# all, follows as its body: an HTTP/1.1 client may read that by luck, over HTTP/2 it is a protocol error.
# Why it matters: gunicorn speaks uwsgi too and offers wsgi.early_hints to every view, by this protocol as well. A page that hints
# at its stylesheet works in development, and behind uwsgi_pass no client with HTTP/2 gets it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3-venv curl" "gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def page():
    request.environ["wsgi.early_hints"]([("Link", "</site.css>; rel=preload; as=style")])
    return "the page\n"
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    log_format short '$server_protocol $status';
    access_log /lab/access.log short;
    http2 on;
    server { listen 127.0.0.1:8081; location / { proxy_pass http://127.0.0.1:8001; } }
    server { listen 127.0.0.1:8082; location / { include /etc/nginx/uwsgi_params; uwsgi_pass 127.0.0.1:8002; } }
}
END
in_box sh -eu >"$work/seen" <<'END'
nginx -c /lab/nginx.conf
touch server.log
gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8001 app:app 2>>server.log &
gunicorn --no-control-socket --threads 2 --protocol uwsgi --bind 127.0.0.1:8002 app:app 2>>server.log &
until [ "$(grep -c Booting server.log)" = 2 ]; do :; done
ask() {
    curl --silent --max-time 10 --output body --write-out '%{http_code}' "$@" >status && code=0 || code=$?
    echo "curl exit $code, $(cat status), body: $(cat body 2>/dev/null || echo none)"
    rm -f body
}
echo "proxy_pass, HTTP/1.1: $(ask http://127.0.0.1:8081/)"
echo "proxy_pass, HTTP/2: $(ask --http2-prior-knowledge http://127.0.0.1:8081/)"
echo "uwsgi_pass, HTTP/2: $(ask --http2-prior-knowledge http://127.0.0.1:8082/)"
echo "access log: $(tr '\n' ';' <access.log)"
END
recorded <<'END'
proxy_pass, HTTP/1.1: curl exit 0, 200, body: the page
proxy_pass, HTTP/2: curl exit 0, 200, body: the page
uwsgi_pass, HTTP/2: curl exit 92, 103, body: none
access log: HTTP/1.1 200;HTTP/2.0 200;HTTP/2.0 103;
END
