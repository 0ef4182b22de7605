#!/bin/sh
# gunicorn --protocol uwsgi drops what nginx says with uwsgi_param: request.remote_addr is nginx, own parameters are gone.
#
# Guess, before the run: gunicorn fills the environ from the uwsgi parameters, as uWSGI does; an upload with Transfer-Encoding: chunked
# is empty in Flask, as with uWSGI.
# Seen: REMOTE_ADDR, SERVER_PORT, REMOTE_USER and parameters of one's own do not arrive; only the HTTP_ ones, the request line, the type,
# the length and the scheme do. The chunked upload arrives whole, which with uWSGI it does not.
# Why it matters: moving from uWSGI to gunicorn with the same nginx file works at the first look, but every address in logs, rate limits
# and audit tables becomes the proxy's. Send X-Forwarded-For as well (uwsgi_param HTTP_X_FORWARDED_FOR) and use ProxyFix.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx uwsgi-core uwsgi-plugin-python3 python3-flask python3-venv curl" "gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
from flask import Flask, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def show():
    names = "REMOTE_ADDR", "SERVER_PORT", "REMOTE_USER", "RELEASE", "wsgi.url_scheme", "HTTP_X_SHOP"
    return ", ".join(f"{name} {request.environ.get(name)}" for name in names) + f", body {len(request.get_data())} bytes\n"
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:80;
        location / {
            include /etc/nginx/uwsgi_params;
            uwsgi_param HTTPS on;
            uwsgi_param REMOTE_USER ada;
            uwsgi_param RELEASE 7;
            uwsgi_pass 127.0.0.1:8000;
        }
    }
}
END
in_box sh -eu >"$work/seen" <<'END'
nginx -c /lab/nginx.conf
head -c 3000 /dev/zero >body
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    until curl --silent --fail --output /dev/null http://127.0.0.1/; do :; done
    echo "$name: $(curl --silent --max-time 10 --interface 127.0.0.9 --header 'X-Shop: 3' --header 'Transfer-Encoding: chunked' \
        --header 'Content-Type: text/plain' --data-binary @body http://127.0.0.1/)"
    kill $!
    wait $! || :
}
serve uWSGI uwsgi --plugin python3 --master --die-on-term --module app:app --uwsgi-socket 127.0.0.1:8000
serve gunicorn gunicorn --no-control-socket --protocol uwsgi --bind 127.0.0.1:8000 app:app
END
recorded <<'END'
uWSGI: REMOTE_ADDR 127.0.0.9, SERVER_PORT 80, REMOTE_USER ada, RELEASE 7, wsgi.url_scheme https, HTTP_X_SHOP 3, body 0 bytes
gunicorn: REMOTE_ADDR 127.0.0.1, SERVER_PORT 8000, REMOTE_USER None, RELEASE None, wsgi.url_scheme https, HTTP_X_SHOP 3, body 3000 bytes
END
