#!/bin/sh
# Hypercorn answers every HEAD of a Flask site, and every GET whose answer has no body, with 500.
#
# Guess, before the run: Hypercorn serves a WSGI program over HTTP/1.1 as gunicorn does; HTTP/2 is its extra.
# Seen: its WSGI wrapper sends the head of the answer with the first piece of the body. Flask gives no piece for HEAD (whatever the
# status would be), 204, 304 and an empty stream: the wrapper fails and the client gets 500.
# Why it matters: uptime monitors and load balancers ask with HEAD, browsers revalidate static files (304), APIs answer DELETE with
# 204. A trial with a browser's first visit shows none of it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "hypercorn==0.18.0 gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
from flask import Flask

app = Flask(__name__)
app.add_url_rule("/page", view_func=lambda: "page", endpoint="page")
app.add_url_rule("/empty", view_func=lambda: "", endpoint="empty")
app.add_url_rule("/204", view_func=lambda: ("", 204), endpoint="204")
app.add_url_rule("/304", view_func=lambda: ("", 304), endpoint="304")
app.add_url_rule("/no-events", view_func=lambda: iter(()), endpoint="no-events")
END
in_box sh -eu >"$work/seen" <<'END'
status() { curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "$@"; }
serve() {
    name=$1
    shift
    "$@" 2>server.log &
    until status http://127.0.0.1:8000/page >/dev/null; do :; done
    for path in page empty 204 304 no-events missing; do
        echo "$name /$path: GET $(status "http://127.0.0.1:8000/$path"), HEAD $(status --head "http://127.0.0.1:8000/$path")"
    done
    kill $!
    wait $! || :
}
serve gunicorn gunicorn --no-control-socket --bind 127.0.0.1:8000 app:app
serve hypercorn hypercorn --bind 127.0.0.1:8000 app:app
END
recorded <<'END'
gunicorn /page: GET 200, HEAD 200
gunicorn /empty: GET 200, HEAD 200
gunicorn /204: GET 204, HEAD 204
gunicorn /304: GET 304, HEAD 304
gunicorn /no-events: GET 200, HEAD 200
gunicorn /missing: GET 404, HEAD 404
hypercorn /page: GET 200, HEAD 500
hypercorn /empty: GET 200, HEAD 500
hypercorn /204: GET 500, HEAD 500
hypercorn /304: GET 500, HEAD 500
hypercorn /no-events: GET 500, HEAD 500
hypercorn /missing: GET 404, HEAD 500
END
