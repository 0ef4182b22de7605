#!/bin/sh
# The rules once more, cheaper and with the same answers (lighten.py). Where that fails they are loaded as
# they are: more CPU for each request, no other difference.
set -eu

mkdir -p "/run/nginx/rules"
if [ "$WAF_MODE" = Off ]; then
    echo "SecRuleEngine Off" >"/run/nginx/rules/main.conf"
    exit 0
fi
python3 -I "/etc/nginx/lighten.py" "/etc/nginx/rules/main.conf" "/run/nginx/rules" && exit 0
mkdir -p "/run/nginx/rules"
echo "waf: the rules are loaded as they are, and cost more; what is wrong stands above" >&2
printf 'Include "%s"\n' "/etc/nginx/rules/main.conf" >"/run/nginx/rules/main.conf"
