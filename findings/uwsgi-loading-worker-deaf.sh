#!/bin/sh
# uWSGI with lazy-apps: SIGINT and SIGQUIT end all workers at once, but not one that is just loading its application.
#
# Guess, before the run: SIGINT to the master ends all workers at once, wherever they are; loading is ordinary Python, which a signal
# interrupts.
# Seen: a worker that is loading does not hear it. The master waits for worker-reload-mercy (60 s by default, 4 here), kills it ("NO
# MERCY"), and ends only then. Once it is loaded the same signal ends it within a second or so.
# Why it matters: a container that is stopped while it starts, or right after a worker was replaced, needs a minute, more than Compose's
# and Kubernetes' grace, and is killed by the engine with whatever the other workers had.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "uwsgi-core uwsgi-plugin-python3 curl"

cat >"$work/pages.py" <<'END'
import pathlib
import time

pathlib.Path("/lab/loading").touch()
until = time.monotonic() + float(pathlib.Path("/lab/load_s").read_text())
while time.monotonic() < until:
    time.sleep(0.1)
pathlib.Path("/lab/loaded").touch()


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
END
in_box sh -eu >"$work/seen" <<'END'
for signal in INT QUIT; do
    for moment in loading loaded; do
        rm -f loading loaded
        if [ $moment = loading ]; then echo 30 >load_s; else echo 0 >load_s; fi
        uwsgi --plugin python3 --http-socket 127.0.0.1:8000 --master --lazy-apps --worker-reload-mercy 4 --module pages >uwsgi.log 2>&1 &
        server=$!
        until [ -e $moment ]; do :; done
        [ $moment = loading ] || until curl --silent --output /dev/null http://127.0.0.1:8000/; do :; done
        kill -$signal $server
        wait $server || :
        echo "SIG$signal, $moment: $(grep --only-matching 'NO MERCY' uwsgi.log || echo at once)"
    done
done
END
recorded <<'END'
SIGINT, loading: NO MERCY
SIGINT, loaded: at once
SIGQUIT, loading: NO MERCY
SIGQUIT, loaded: at once
END
