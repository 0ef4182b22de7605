# Saves work on requests with many values (docs/waf.md, "What can one request cost?"): reads exclusions (rules=0) and then the rules of the
# Core Rule Set (rules=1), and writes directives for them. -v level=WAF_PARANOIA -v most=VALUES
#
# libmodsecurity copies and transforms every value once for each rule; matching is the smaller part. So:
# (1) Rules with the same transformations become one expression ("gate"), held against all values first. What it does not match none of
#     them would match, and they are not asked about the values. What it matches they are asked about as ever.
# (2) With more than `most` values they are not asked then either: the gate's own match counts as a critical one.
# (3) Names of values are collected in one variable where they have signs in them, and are not looked at one by one.

FNR == 1 { file_level = 0; chained = 0 }
/^[ \t]*#/ { next }
{ sub(/\r$/, "") }
sub(/\\$/, "") { held = held $0; next }
{
    statement(held $0)
    held = ""
}

function statement(line) {
    sub(/^[ \t]+/, "", line)
    if (!rules) note_exclusion(line)
    else if (line ~ /^SecRule[ \t]/) note_rule(line)
}

function note_exclusion(line, words, count, at) {
    count = split(line, words, /[ \t"',]+/)
    for (at = 2; at <= count; at++) {
        if (words[1] == "SecRuleRemoveById") without[words[at]] = 1
        if (words[1] == "SecRuleRemoveByTag") without_tag[words[at]] = 1
    }
    # What somebody changed stands alone.
    if (words[1] ~ /^SecRuleUpdate.*ById$/) without[words[2]] = 1
    if (words[1] ~ /^SecRuleUpdate.*ByTag$/) without_tag[words[2]] = 1
}

# Takes the string between the next two quotes off `rest`; a quote after a backslash is part of it.
function quoted(text, at) {
    at = index(rest, "\"")
    if (!at) return ""
    rest = substr(rest, at + 1)
    text = ""
    while (at = match(rest, /[\\"]/)) {
        if (substr(rest, at, 1) == "\"") {
            text = text substr(rest, 1, at - 1)
            rest = substr(rest, at + 1)
            return text
        }
        text = text substr(rest, 1, at + 1)
        rest = substr(rest, at + 2)
    }
    return text rest
}

function note_rule(line, targets, operator, actions, follows, id, changes) {
    rest = line
    sub(/^SecRule[ \t]+/, "", rest)
    if (rest ~ /^"/) targets = quoted()
    else {
        targets = rest
        sub(/[ \t].*/, "", targets)
        rest = substr(rest, length(targets) + 1)
    }
    operator = quoted()
    actions = quoted()
    gsub(/[ \t]+/, "", actions)
    actions = "," actions ","
    follows = chained
    chained = actions ~ /,chain,/
    if (targets ~ /^TX:.*PARANOIA_LEVEL$/ && operator ~ /^@lt [1-4]$/) file_level = substr(operator, 5)
    if (follows || chained || actions !~ /,phase:2,/ || !match(actions, /,id:[0-9]+,/)) return
    id = substr(actions, RSTART + 4, RLENGTH - 5)
    if (is_out(id, actions) || file_level > level) return
    targets = "|" targets "|"
    if (index(targets, "|ARGS_NAMES|")) by_name[++names] = id
    if (!index(targets, "|ARGS|") || actions ~ /,multiMatch,/ || operator ~ /^!|%\{/) return
    operator = as_expression(operator)
    if (operator == "") return
    while (match(actions, /,t:[A-Za-z0-9]+,/)) {
        changes = changes "," substr(actions, RSTART + 1, RLENGTH - 2)
        actions = substr(actions, RSTART + RLENGTH - 1)
    }
    # In small letters is where letters of either size match, unless something is decoded afterwards.
    if (sub(/,t:lowercase$/, "", changes) || sub(/,t:lowercase,t:removeNulls$/, ",t:removeNulls", changes)) operator = "(?i:" operator ")"
    if (!(changes in expression)) order[++groups] = changes
    expression[changes] = expression[changes] (changes in members ? "|" : "") "(?:" operator ")"
    members[changes] = members[changes] " " id
}

# What an operator looks for, as an expression; "" when it cannot be said so.
function as_expression(operator, words, count, at, text) {
    if (operator !~ /^@/ || sub(/^@rx[ \t]+/, "", operator)) return operator
    if (!sub(/^@pm[ \t]+/, "", operator) || operator ~ /[|\\]/) return ""
    count = split(operator, words, /[ \t]+/)
    for (at = 1; at <= count; at++) text = text (at > 1 ? "|" : "") "\\Q" words[at] "\\E"
    return "(?i:" text ")"
}

function is_out(id, actions, tag, range, ends) {
    if (id in without) return 1
    for (tag in without_tag) if (index(actions, ",tag:'" tag "',")) return 1
    for (range in without) if (split(range, ends, "-") == 2 && id + 0 >= ends[1] + 0 && id + 0 <= ends[2] + 0) return 1
    return 0
}

END {
    print "# Written by nginx/render (waf/merge.awk) from the rules that main.conf includes after this."
    if (names) collect_names()
    for (at = 1; at <= names; at++) print "SecRuleUpdateTargetById " by_name[at] " \"!ARGS_NAMES|TX:kit_names\""
    for (at = 1; at <= groups; at++) if (split(members[order[at]], ids, " ") > 1) gate(10300 + 10 * ++gates, order[at], ids)
}

# A long name is copied once more for each that follows, and every expression is held against all of them, so number and length are bounded.
# The signs of sentences and addresses are none here.
function collect_names(odd) {
    odd = "SecRule ARGS_NAMES \"@rx [^A-Za-z0-9_.,:!?@#+/\\[\\]\\x80-\\xff -]|__|\\.\\.\" \"id:%d,phase:2,pass,nolog,noauditlog,t:none,%s\"\n"
    printf odd, 10300, "setvar:tx.kit_odd_names=+1"
    print "SecRule TX:kit_odd_names \"@gt 50\" \"id:10301,phase:2,deny,status:400,t:none,msg:'More than 50 names of values with signs in them',tag:'kit'\""
    printf odd, 10302, "setvar:'tx.kit_names=%{tx.kit_names} %{MATCHED_VAR}'"
    print "SecRule TX:kit_names \"@gt 4096\" \"id:10303,phase:2,deny,status:400,t:none,t:length,msg:'More than 4096 characters in names of values with signs in them',tag:'kit'\""
}

function gate(number, changes, ids, name, removals, at) {
    name = "kit_gate_" number
    for (at = 1; at in ids; at++) removals = removals ",ctl:ruleRemoveTargetById=" ids[at] ";ARGS"
    printf "SecAction \"id:%d,phase:2,pass,nolog,t:none,setvar:tx.%s=0\"\n", number, name
    printf "SecRule ARGS \"@rx (?|%s)\" \"id:%d,phase:2,pass,nolog,noauditlog%s,setvar:tx.%s=1\"\n", expression[changes], number + 1, changes, name
    printf "SecRule &ARGS \"@gt %d\" \"id:%d,phase:2,pass,nolog,noauditlog,t:none,setvar:tx.%s=+2\"\n", most, number + 2, name
    printf "SecRule TX:%s \"!@eq 1\" \"id:%d,phase:2,pass,nolog,noauditlog,t:none%s\"\n", name, number + 3, removals
    printf "SecRule TX:%s \"@eq 3\" \"id:%d,phase:2,pass,t:none,msg:'One of the rules%s, in a request with more than %d values',", name, number + 4, members[changes], most
    printf "tag:'kit',severity:'CRITICAL',setvar:'tx.anomaly_score_pl1=+%%{tx.critical_anomaly_score}',"
    printf "setvar:'tx.inbound_anomaly_score_pl1=+%%{tx.critical_anomaly_score}'\"\n"
}
