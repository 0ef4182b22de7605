#!/bin/sh
# After the templates were filled in: the app by uWSGI's protocol. With the WAF between there is no such proxy_pass here.
set -eu
find "$NGINX_ENVSUBST_OUTPUT_DIR" -name '*.conf' -exec sed -i \
    -e 's|proxy_pass http://app;|uwsgi_pass app;|' \
    -e 's|uwsgi_temp_path .*|uwsgi_temp_path /run/nginx/proxy;|' {} +
