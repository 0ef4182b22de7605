#!/bin/sh
# Apache: AllowEncodedSlashes NoDecode brings 400 for every encoded percent sign; `nocanon` heals that, and with mod_proxy_uwsgi puts the
# query into the path.
#
# Guess, before the run: with either a path reaches the application as it was sent, by mod_proxy_http and by mod_proxy_uwsgi alike, and an
# upload without a length arrives empty, as uWSGI's protocol knows no chunks.
# Seen: NoDecode, which is there so that /a%2Fb is served, makes Apache answer 400 to /sale/50%25, by both modules and without a line in
# its error log. With `nocanon` mod_proxy_http passes everything. mod_proxy_uwsgi answers 500 to /a%2Fb all the same, and whatever has
# a query has it in the path as well: Flask looks for a page "/a?q=1" and answers 404. An upload in chunks gets 411 there.
# Why it matters: a site with titles, names of files or search terms in its addresses moves from mod_proxy_http to uWSGI's protocol, and
# what is set for one kind of address takes another away.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "apache2 curl gunicorn python3-flask uwsgi-core uwsgi-plugin-python3"

cat >"$work/echo.py" <<'END'
from flask import Flask, request

app = Flask(__name__)


@app.route("/<path:rest>", methods=["GET", "POST"])
def echo(rest):
    return f"path {request.path}, q {request.args.get('q')}, {len(request.get_data())} bytes\n"
END
cat >"$work/apache.conf" <<'END'
ServerName localhost
PidFile /tmp/apache.pid
ErrorLog /lab/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_uwsgi_module /usr/lib/apache2/modules/mod_proxy_uwsgi.so
User www-data
Group www-data
Listen 127.0.0.1:8081
Listen 127.0.0.1:8082
Listen 127.0.0.1:8083
Listen 127.0.0.1:8084
Listen 127.0.0.1:8085
Listen 127.0.0.1:8086
<VirtualHost 127.0.0.1:8081>
    ProxyPass / http://127.0.0.1:8001/
</VirtualHost>
<VirtualHost 127.0.0.1:8082>
    ProxyPass / uwsgi://127.0.0.1:8002/
</VirtualHost>
<VirtualHost 127.0.0.1:8083>
    AllowEncodedSlashes NoDecode
    ProxyPass / http://127.0.0.1:8001/
</VirtualHost>
<VirtualHost 127.0.0.1:8084>
    AllowEncodedSlashes NoDecode
    ProxyPass / uwsgi://127.0.0.1:8002/
</VirtualHost>
<VirtualHost 127.0.0.1:8085>
    AllowEncodedSlashes NoDecode
    ProxyPass / http://127.0.0.1:8001/ nocanon
</VirtualHost>
<VirtualHost 127.0.0.1:8086>
    AllowEncodedSlashes NoDecode
    ProxyPass / uwsgi://127.0.0.1:8002/ nocanon
</VirtualHost>
END
in_box sh -eu >"$work/seen" <<'END'
gunicorn --threads 2 --bind 127.0.0.1:8001 echo:app >gunicorn.log 2>&1 &
uwsgi --plugin python3 --master --need-app --socket 127.0.0.1:8002 --wsgi-file echo.py --callable app >uwsgi.log 2>&1 &
apache2 -d /etc/apache2 -f /lab/apache.conf
for port in 8081 8082; do
    until curl --silent --fail --output /dev/null http://127.0.0.1:$port/ready; do :; done
done
: >error.log
ask() {
    name=$1 port=$2
    for path in /a%20b /sale/50%25 /a%2Fb '/a?q=1'; do
        code=$(curl --silent --max-time 10 --output body --write-out '%{http_code}' "http://127.0.0.1:$port$path")
        echo "$name: $path: $code$(sed -n 's/^path/, path/p' body)"
    done
    code=$(head -c 70000 /dev/zero | curl --silent --max-time 10 --header 'Transfer-Encoding: chunked' --header 'Expect:' \
        --data-binary @- --output body --write-out '%{http_code}' "http://127.0.0.1:$port/up")
    echo "$name: upload in chunks: $code$(sed -n 's/^path/, path/p' body)"
}
ask http 8081
ask uwsgi 8082
ask "http, NoDecode" 8083
ask "uwsgi, NoDecode" 8084
ask "http, NoDecode, nocanon" 8085
ask "uwsgi, NoDecode, nocanon" 8086
echo "error log: $(sed 's/.*AH/AH/' error.log | sort -u)"
END
recorded <<'END'
http: /a%20b: 200, path /a b, q None, 0 bytes
http: /sale/50%25: 200, path /sale/50%, q None, 0 bytes
http: /a%2Fb: 404
http: /a?q=1: 200, path /a, q 1, 0 bytes
http: upload in chunks: 200, path /up, q None, 70000 bytes
uwsgi: /a%20b: 200, path /a b, q None, 0 bytes
uwsgi: /sale/50%25: 200, path /sale/50%, q None, 0 bytes
uwsgi: /a%2Fb: 404
uwsgi: /a?q=1: 200, path /a, q 1, 0 bytes
uwsgi: upload in chunks: 411
http, NoDecode: /a%20b: 200, path /a b, q None, 0 bytes
http, NoDecode: /sale/50%25: 400
http, NoDecode: /a%2Fb: 200, path /a/b, q None, 0 bytes
http, NoDecode: /a?q=1: 200, path /a, q 1, 0 bytes
http, NoDecode: upload in chunks: 200, path /up, q None, 70000 bytes
uwsgi, NoDecode: /a%20b: 200, path /a b, q None, 0 bytes
uwsgi, NoDecode: /sale/50%25: 400
uwsgi, NoDecode: /a%2Fb: 500
uwsgi, NoDecode: /a?q=1: 200, path /a, q 1, 0 bytes
uwsgi, NoDecode: upload in chunks: 411
http, NoDecode, nocanon: /a%20b: 200, path /a b, q None, 0 bytes
http, NoDecode, nocanon: /sale/50%25: 200, path /sale/50%, q None, 0 bytes
http, NoDecode, nocanon: /a%2Fb: 200, path /a/b, q None, 0 bytes
http, NoDecode, nocanon: /a?q=1: 200, path /a, q 1, 0 bytes
http, NoDecode, nocanon: upload in chunks: 200, path /up, q None, 70000 bytes
uwsgi, NoDecode, nocanon: /a%20b: 200, path /a b, q None, 0 bytes
uwsgi, NoDecode, nocanon: /sale/50%25: 200, path /sale/50%, q None, 0 bytes
uwsgi, NoDecode, nocanon: /a%2Fb: 500
uwsgi, NoDecode, nocanon: /a?q=1: 200, path /a?q=1, q 1, 0 bytes
uwsgi, NoDecode, nocanon: upload in chunks: 411
error log: AH10100: unable to decode uwsgi uri: uwsgi://127.0.0.1:8002/a/b
END
