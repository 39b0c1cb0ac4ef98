# What the user sees, and the text that travels to and from the Python side.

namespace eval ::sixsa {

proc Say {text} {
    puts stdout $text
    Flush stdout
}

proc Flush {channel} {
    # XSPEC's own `flush` is something else
    if {[llength [info commands ::tclflush]]} { ::tclflush $channel } else { ::flush $channel }
}

# XSPEC drops the message of an error that ends a script, so there it is printed; at the prompt Tcl shows it.
proc EchoError {message} {
    for {set i 1} {$i < [info frame]} {incr i} {
        set frame [info frame $i]
        if {[dict exists $frame cmd] && [string match "@*" [string trimleft [dict get $frame cmd]]]} {
            puts stderr "***$message"
            return
        }
    }
}

# Whether standard output is a terminal: Tcl's channel to one has a mode.
proc OnTerminal {} {
    expr {![catch {fconfigure stdout -mode}]}
}

# One line that replaces itself on a terminal; elsewhere a line now and then.
proc Progress {text} {
    variable shown
    variable shownAt
    if {[OnTerminal]} {
        puts -nonewline stdout "\r[format %-78.78s $text]"
        Flush stdout
        set shown 1
    } elseif {![info exists shownAt] || [clock seconds] - $shownAt >= 15} {
        set shownAt [clock seconds]
        Say $text
    }
}

proc EndProgress {} {
    variable shown
    variable shownAt
    if {[info exists shown]} {
        puts -nonewline stdout "\r[string repeat { } 78]\r"
        Flush stdout
    }
    unset -nocomplain shown shownAt
}

# Any text as one word without blanks: bytes that are not plain ASCII as %XX. File names keep the bytes they have.
proc Encode {text} {
    set coded ""
    foreach byte [split [encoding convertto [encoding system] $text] ""] {
        if {[regexp {^[A-Za-z0-9_./:,=@*()<>^~-]$} $byte]} {
            append coded $byte
        } else {
            append coded [format %%%02X [scan $byte %c]]
        }
    }
    # never through expr, which would rewrite a name that looks like a number
    if {$coded eq ""} { return % }
    return $coded
}

proc Decode {word} {
    if {$word eq "%"} { return "" }
    set bytes ""
    set end [string length $word]
    for {set i 0} {$i < $end} {incr i} {
        set character [string index $word $i]
        if {$character eq "%" && [scan [string range $word [expr {$i + 1}] [expr {$i + 2}]] %x code] == 1} {
            append bytes [format %c $code]
            incr i 2
        } else {
            append bytes $character
        }
    }
    return [encoding convertfrom [encoding system] $bytes]
}

# Lines of a small file, each split at blanks and decoded.
proc ReadRecords {file} {
    set channel [open $file r]
    fconfigure $channel -encoding iso8859-1
    set records {}
    while {[gets $channel line] >= 0} {
        set record {}
        foreach word [split $line " "] { lappend record [Decode $word] }
        lappend records $record
    }
    close $channel
    return $records
}

proc WriteRecords {file records} {
    set channel [open $file w]
    fconfigure $channel -encoding iso8859-1
    foreach record $records {
        set words {}
        foreach word $record { lappend words [Encode $word] }
        puts $channel [join $words " "]
    }
    close $channel
}

}
