#!/usr/bin/env tclsh
# Tools in Tcl for jitney: JSON-RPC 2.0 by lines (dialect jsonrpc-stdio). One process stays up and answers call after
# call. Needs tcllib for its JSON.
package require json
package require json::write

json::write indented false

proc tool.words {arguments} {
    set text [dict get $arguments text]
    return [json::write object words [llength [regexp -all -inline {\S+} $text]] \
        characters [string length $text]]
}

proc tool.expr {arguments} {
    # a safe interpreter: the expression comes from a stranger
    set child [interp create -safe]
    try {
        interp limit $child commands -value 1000
        # an empty loop is no command
        interp limit $child time -seconds [expr {[clock seconds] + 2}]
        return [json::write string [interp eval $child [list expr [dict get $arguments expression]]]]
    } finally {
        interp delete $child
    }
}

proc answer {id member value} {
    puts "{\"jsonrpc\":\"2.0\",\"id\":$id,\"$member\":$value}"
}

proc take {line} {
    set request [json::json2dict $line]
    set id [dict get $request id]
    set method [dict get $request method]
    if {[info commands tool.$method] eq ""} {
        answer $id error [json::write object code -32601 message [json::write string "no method $method"]]
    } elseif {[catch {tool.$method [dict get $request params]} result]} {
        answer $id error [json::write object code -32000 message [json::write string $result]]
    } else {
        answer $id result $result
    }
}

fconfigure stdin -encoding utf-8
fconfigure stdout -encoding utf-8 -buffering line
while {[gets stdin line] >= 0} {
    take $line
}
