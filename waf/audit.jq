# One line for each request that the WAF refused, or would have refused, from ModSecurity's audit lines
# (docker-entrypoint.d/40-audit-log.envsh). Of what the client sent it keeps method, path and query (the access log has them
# too) and the names of the arguments that matched, never their values: `match` and `data` quote bodies, cookies and
# Authorization. A name that is no plain name may be a piece of a body and is not kept.
def plain_name: if test("^[A-Za-z0-9_.:/-]{1,80}$") then . else sub(":.*"; ":…") end;
def variable:
    ((.details.match | capture("against variable `(?<name>[^'`]*)'"; "n") | .name)
     // (.details.data | capture("found within (?<name>[A-Z_]+(:[^:]*)?): "; "n") | .name) // "") | plain_name;
def decides: .details.ruleId | test("^(949110|949111|101[0-9]{2}|20000[0-9])$");

# Modules before 1.0.4 may say the same twice, one after the other. What self-test says passes as it is.
foreach (inputs | try fromjson catch null | select(. != null)) as $line
    ({}; {before: .now, now: ($line.transaction // $line)}; .now as $now | select($now.waf or .before.unique_id != $now.unique_id) | $now)
| if .waf then . else
    select((.messages | any(decides)) and .request.uri != "/.kit-self-test")
    | (.messages | map(select(decides))) as $decisions
    | {
        waf: (if .producer.secrules_engine == "Enabled" then "refused" else "would refuse" end),
        time: (.time_stamp | strptime("%a %b %e %H:%M:%S %Y") | todate),
        request_id: .unique_id,
        client: .client_ip,
        method: .request.method,
        uri: .request.uri,
        status: .response.http_code,
        score: ([$decisions[] | .message | capture("Score: (?<n>[0-9]+)") | .n | tonumber] | max),
        rules: [.messages[] | select(.details.ruleId | startswith("949") | not)
                | {id: (.details.ruleId | tonumber), message, variable: variable}] | unique
      }
  end
