#!/bin/sh
# granian --interface asgi with HTTP/2 and a Flask site behind an adapter: of a visitor's cookies, all become one.
#
# Guess, before the run: HTTP/2 clients may send each cookie in a field of its own (RFC 9113, 8.2.3); every server puts them together
# again with "; ". Only Hypercorn with asgiref loses the second, as asgiref joins repeated fields by ",".
# Seen: gunicorn, granian's own WSGI and Hypercorn with each adapter are right. granian's ASGI hands each field on as it came, and
# each adapter joins them by ",": Flask has one cookie a with the value "1,b=2".
# Why it matters: a session cookie next to any other is damaged, and the visitor is logged out; a test with one cookie, or with a client
# that sends all in one field, shows nothing. For Flask, use --interface wsgi.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "granian==2.8.9 asgiref==3.13.0 a2wsgi==1.10.10 starlette==1.10.0 hypercorn==0.18.0 gunicorn[http2]==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import a2wsgi
import asgiref.wsgi
import starlette.middleware.wsgi
from flask import Flask, request

app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: " and ".join(f"{name} is {value!r}" for name, value in sorted(request.cookies.items())), endpoint="cookies")

with_asgiref = asgiref.wsgi.WsgiToAsgi(app)
with_a2wsgi = a2wsgi.WSGIMiddleware(app)
with_starlette = starlette.middleware.wsgi.WSGIMiddleware(app)
END
in_box sh -eu >"$work/seen" <<'END'
get() { curl --silent --fail --max-time 10 --http2-prior-knowledge "$@" http://127.0.0.1:8000/; }
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    until get >/dev/null; do :; done
    echo "$name: in one field $(get --header 'Cookie: a=1; b=2'); in two $(get --header 'Cookie: a=1' --header 'Cookie: b=2')"
    kill $!
    wait $! || :
}
serve gunicorn gunicorn --no-control-socket --threads 2 --http-protocols h2,h1 --http2-cleartext both --bind 127.0.0.1:8000 app:app
serve "granian wsgi" granian --interface wsgi --port 8000 app:app
serve "hypercorn wsgi" hypercorn --bind 127.0.0.1:8000 app:app
for adapter in asgiref a2wsgi starlette; do
    serve "hypercorn $adapter" hypercorn --bind 127.0.0.1:8000 app:with_$adapter
    serve "granian asgi $adapter" granian --interface asgi --port 8000 app:with_$adapter
done
END
recorded <<'END'
gunicorn: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
granian wsgi: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
hypercorn wsgi: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
hypercorn asgiref: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
granian asgi asgiref: in one field a is '1' and b is '2'; in two a is '1,b=2'
hypercorn a2wsgi: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
granian asgi a2wsgi: in one field a is '1' and b is '2'; in two a is '1,b=2'
hypercorn starlette: in one field a is '1' and b is '2'; in two a is '1' and b is '2'
granian asgi starlette: in one field a is '1' and b is '2'; in two a is '1,b=2'
END
