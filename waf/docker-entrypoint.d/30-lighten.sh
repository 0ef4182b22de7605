#!/bin/sh
# The rules once more, cheaper and with the same answers (lighten.py). Where that fails they are loaded as
# they are: more CPU for each request, no other difference.
set -eu

mkdir -p "/run/nginx/rules" "/run/nginx/crs"
if [ "$WAF_MODE" = Off ]; then
    echo "SecRuleEngine Off" >"/run/nginx/rules/main.conf"
    exit 0
fi

# Names of files for rule 10214, without those that a project shares; 10216 knows when .profile is one.
sed '/^\.\(profile\|dockerignore\|git\(attributes\|ignore\|keep\)\)$/d' \
    "/run/nginx/crs/lfi-os-files.data" >"/run/nginx/crs/kit-files.data"

# Passwords: where the query has none of that name, no rule of the Core Rule Set and of the kit looks at them.
# Its own exclusions for WordPress, Drupal and Nextcloud say the same of theirs.
set -f # user[password] is no pattern for file names
_names=$(for _field in $WAF_PASSWORD_FIELDS; do printf '%s json.%s ' "$_field" "$_field"; done)
{
    echo "SecRule ARGS_NAMES \"@rx ^(?:$(echo "$_names" | sed -e 's/[].[]/\\&/g' -e 's/ /|/g')(?!))\$\"" \
        '"id:10400,phase:2,pass,nolog,t:none,skipAfter:KIT-PASSWORDS"'
    echo 'SecAction "id:10401,phase:2,pass,nolog,skipAfter:KIT-NO-PASSWORDS"'
    echo 'SecMarker KIT-PASSWORDS'
    _id=11000
    for _name in $_names; do
        echo "SecRule &ARGS:$_name \"@gt 0\" \"id:$_id,phase:2,pass,nolog,t:none,chain\"
    SecRule &ARGS_GET:$_name \"@eq 0\" \"t:none,\\
        ctl:ruleRemoveTargetByTag=OWASP_CRS;ARGS:$_name,ctl:ruleRemoveTargetByTag=kit;ARGS:$_name\""
        _id=$((_id + 1))
    done
    echo 'SecMarker KIT-NO-PASSWORDS'
} >"/run/nginx/crs/passwords.conf"

python3 -I "/etc/nginx/lighten.py" "/etc/nginx/rules/main.conf" "/run/nginx/rules" && exit 0
mkdir -p "/run/nginx/rules"
echo "waf: the rules are loaded as they are, and cost more; what is wrong stands above" >&2
printf 'Include "%s"\n' "/etc/nginx/rules/main.conf" >"/run/nginx/rules/main.conf"
