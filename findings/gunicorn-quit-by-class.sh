#!/bin/sh
# gunicorn: SIGQUIT, the "quick shutdown", is quick for some worker classes only, and a request in flight fares differently under each.
#
# Guess, before the run: SIGQUIT ends the master and its workers at once, whatever the class; a request in flight gets no answer.
# Seen: gthread waits for the view and answers 200 in full. sync answers 500 in the middle of the view. gevent and tornado close without an
# answer.
# Why it matters: who sends QUIT for an end at once waits as long as the slowest view of a gthread worker; under sync the client and the
# log see an error of the application that is none.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "gunicorn==27.0.1 gevent==26.9.0 tornado==6.6.1 packaging==26.3"

cat >"$work/pages.py" <<'END'
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("/lab/begun", "w").close()
        time.sleep(3)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
END
in_box sh -eu >"$work/seen" <<'END'
for class in sync gthread gevent tornado; do
    rm -f begun
    gunicorn --worker-class $class --bind 127.0.0.1:8000 pages:app >gunicorn.log 2>&1 &
    server=$!
    until curl --silent --output /dev/null http://127.0.0.1:8000/; do :; done
    curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/slow >answer || : &
    client=$!
    until [ -e begun ]; do :; done
    kill -QUIT $server
    wait $client || :
    wait $server || :
    echo "$class: $(cat answer)"
done
END
recorded <<'END'
sync: 500
gthread: 200
gevent: 000
tornado: 000
END
