#!/bin/sh
# Refuses what could add configuration of its own. Names every wrong setting, then exit code 2. Whatever
# else is wrong nginx itself names.
# shellcheck source=nginx/docker-entrypoint.d/must
. "/docker-entrypoint.d/must"

# A star stands for a part of what follows the slash, never for all of it: */* would let every body pass
# uninspected.
type='[a-z0-9.+-]+/[a-z0-9.+-]*([a-z0-9.+-]|[*][a-z0-9.+-]+|[a-z0-9.+-][*])'

must WAF_MODE 'On|DetectionOnly|Off' "On, DetectionOnly or Off"
must WAF_PARANOIA '[1-4]' "a level from 1 to 4"
must WAF_ANOMALY_THRESHOLD '[1-9][0-9]{0,2}|1000' "a score from 1 to 1000"
must WAF_SAMPLING '[1-9][0-9]?|100' "a percentage from 1 to 100"
must WAF_BODY_LIMIT '6553[6-9]|655[4-9][0-9]|65[6-9][0-9]{2}|6[6-9][0-9]{3}|[7-9][0-9]{4}|[1-9][0-9]{5,7}' \
    "a number of bytes from 65536 to 99999999"
must WAF_VALUES '[1-9][0-9]{2,3}|1[0-9]{4}' "a number from 100 to 19999"
must WAF_METHODS '[A-Z]+( +[A-Z]+)*' "methods with spaces between them, such as: GET HEAD POST"
must WAF_CONTENT_TYPES "$type( +$type)*" "types with spaces between them, such as: application/json text/csv"
must WAF_RULES_DIR '/[^"\\$]*' "the absolute path of a folder, such as /srv/coreruleset-4.28.0"
must HEALTH_PATH '/[A-Za-z0-9/._~-]*' "the path of an address, such as /healthz"

[ -z "$wrong" ] || exit 2
