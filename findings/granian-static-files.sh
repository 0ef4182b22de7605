#!/bin/sh
# granian --static-path-mount serves files without length, Range, ETag or Last-Modified, for a day, and answers POST with the file.
#
# Guess, before the run: it serves as any static server does: Range 206, If-Modified-Since 304, and what is not there goes to Flask.
# Seen: always 200 and the whole file in chunks, with Cache-Control: max-age=86400; nothing to ask again with. A missing file is
# granian's own 404, in plain text, not the site's page.
# Why it matters: browsers cannot seek in a video or resume a download, and after a release they use the old site.css for a day, then
# load everything anew. Leave static files to nginx, or put a hash into each name.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "granian==2.8.9 flask==3.1.3"

mkdir "$work/static"
echo 0123456789 >"$work/static/file.txt"
cat >"$work/app.py" <<'END'
from flask import Flask

app = Flask(__name__, static_folder="/lab/static", static_url_path="/flask")


@app.errorhandler(404)
def missing(error):
    return "the site's own page", 404
END
in_box sh -eu >"$work/seen" <<'END'
granian --interface wsgi --host 127.0.0.1 --port 8000 --static-path-route /granian --static-path-mount /lab/static app:app >server.log 2>&1 &
until curl --silent --output /dev/null http://127.0.0.1:8000/; do :; done
for who in flask granian; do
    url=http://127.0.0.1:8000/$who/file.txt
    status() { curl --silent --output body --write-out '%{http_code}' "$@"; }
    fields=$(curl --silent --head "$url" | tr -d '\r' | sed -n 's/^\(content-length\|etag\|last-modified\|cache-control\):.*/\1/ip' | tr 'A-Z\n' 'a-z ')
    echo "$who: GET $(status "$url") with ${fields}- Range $(status --range 0-1 "$url") ($(wc -c <body) bytes) -" \
        "If-Modified-Since $(status --header "If-Modified-Since: $(date -Ru -d tomorrow | sed 's/+0000/GMT/')" "$url") -" \
        "POST $(status --request POST "$url") - missing: $(status "http://127.0.0.1:8000/$who/none") $(cat body)"
done
END
recorded <<'END'
flask: GET 200 with content-length last-modified cache-control etag - Range 206 (2 bytes) - If-Modified-Since 304 - POST 405 - missing: 404 the site's own page
granian: GET 200 with cache-control - Range 200 (11 bytes) - If-Modified-Since 200 - POST 200 - missing: 404 Not found
END
