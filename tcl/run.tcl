# One run: the Python side beside the prompt, in the foreground or in the background.

namespace eval ::sixsa {

# the last run of this session: scratch and run (folders), given (options), channel, pid, state (running, ended),
# doing (running, stopping), taken (whether the answer was taken over), code (of its end), error, last (what it said)
variable job
if {![info exists job]} { set job [dict create] }

# option -> kind of value
variable runOptions {
    ess count  seed count  workers count  max-evaluations count  preset word  out word  engine word
    bg flag  nobest flag  nochain flag
}
variable bxaOptions {
    live count  seed count  workers count  out word  engine word  bg flag
}

proc ParseOptions {verb options words} {
    set given [dict create]
    while {[llength $words]} {
        set word [lindex $words 0]
        set words [lrange $words 1 end]
        set name ""
        if {[string match -* $word]} { set name [Unique [string range $word 1 end] [dict keys $options]] }
        if {$name eq ""} { Refuse "no option \"$word\" of $verb; there are -[join [dict keys $options] {, -}]" }
        set kind [dict get $options $name]
        if {$kind eq "flag"} {
            dict set given $name 1
            continue
        }
        if {![llength $words]} { Refuse "-$name needs a value" }
        set value [lindex $words 0]
        set words [lrange $words 1 end]
        if {$kind eq "count" && ![regexp {^\d+$} $value]} {
            Refuse "-$name must be a whole number, not \"$value\""
        }
        dict set given $name $value
    }
    return $given
}

# Not through file join or file normalize, which would take ~ for a home.
proc Absolute {name} {
    if {[string index $name 0] eq "/"} { return $name }
    return [pwd]/$name
}

proc RunFolder {given} {
    if {[dict exists $given out]} {
        if {[dict get $given out] eq ""} { Refuse "-out needs the name of a folder" }
        return [Absolute [dict get $given out]]
    }
    set base [Absolute sixsa-run]
    set name $base
    for {set i 2} {[file exists $name]} {incr i} { set name $base-$i }
    return $name
}

proc Run {args} {
    if {[lindex $args 0] eq "?"} { return [Help] }
    variable runOptions
    set given [ParseOptions run $runOptions $args]
    Begin [list run] [RunFolder $given] $given
}

# Nested sampling by BXA, beside a run.
proc Bxa {args} {
    if {[lindex $args 0] eq "?"} { return [Help] }
    variable bxaOptions
    # the run may be named first
    set named {}
    if {[llength $args] && ![string match -* [lindex $args 0]]} {
        set named [list [lindex $args 0]]
        set args [lrange $args 1 end]
    }
    set given [ParseOptions bxa $bxaOptions $args]
    set run [RunNamed $named]
    CheckModel [ReadAnswer $run]
    set out $run/bxa
    if {[dict exists $given out]} { set out [RunFolder $given] }
    # a check changes nothing at the prompt
    dict set given nobest 1
    dict set given nochain 1
    Begin [list bxa $run] $out $given
}

# Hand the session over and start the Python side.
proc Begin {task run given} {
    variable job
    if {[JobState] eq "running"} { Refuse "a run is under way: see sixsa status, or end it with sixsa stop" }
    RequireSession
    CheckPython
    set scratch [Scratch]
    if {[catch {Quietly HandOver $scratch $run $task $given} file failure]} {
        Discard $scratch
        return -options $failure $file
    }
    Start $scratch $run $file $given
    if {[dict exists $given bg]} {
        # or XSPEC would wait for the run when it ends
        fconfigure [dict get $job channel] -blocking 0
        Say "sixsa: running in the background; sixsa status tells how far it is and takes the result over when it is\
            there, sixsa stop ends it"
        return
    }
    Follow
    Finish
}

proc CheckPython {} {
    variable python
    if {![info exists python] || $python eq ""} {
        Refuse "no Python is recorded: run \"xsixsa install-tcl\" in the shell and start XSPEC again"
    }
    if {![file executable $python]} {
        Refuse "the Python recorded at installation is gone ($python): run \"xsixsa install-tcl\" again"
    }
}

# Start the Python side. -P keeps modules in the user's folder from taking the place of real ones.
proc Start {scratch run file given} {
    variable python
    variable job
    set command [list $python -P -u -m xsixsa.prompt $file < /dev/null 2> [file join $scratch log.txt]]
    if {[catch {open |$command r} channel]} {
        Discard $scratch
        Refuse "$python cannot be started: $channel"
    }
    fconfigure $channel -encoding utf-8 -buffering line
    set job [dict create scratch $scratch run $run given $given channel $channel pid [lindex [pid $channel] 0] \
        state running doing running taken 0 code 0 error "" last ""]
}

# Show what the Python side says until it ends. Ctrl-C goes to it as well as to XSPEC, which goes on.
proc Follow {} {
    variable job
    set channel [dict get $job channel]
    while {[gets $channel line] >= 0} { Heed $line }
    EndProgress
    Reap
}

# One line of the Python side: a letter, a tab, a text.
proc Heed {line} {
    variable job
    set text [string range $line 2 end]
    switch -- [string index $line 0] {
        P { dict set job last $text; Progress $text }
        M { EndProgress; Say "  $text" }
        W { EndProgress; Say "  warning: $text" }
        E { dict set job error $text }
    }
}

# Close the channel of a child that has ended and note how it did.
proc Reap {} {
    variable job
    set channel [dict get $job channel]
    fconfigure $channel -blocking 1
    set code 0
    if {[catch {close $channel} message options]} {
        set cause [dict get $options -errorcode]
        switch -- [lindex $cause 0] {
            CHILDSTATUS { set code [lindex $cause 2] }
            CHILDKILLED - CHILDSUSP { set code [lindex $cause 2] }
            default { set code 1 }
        }
    }
    dict set job code $code
    dict set job state ended
}

# none, running or ended. In the background the Python side speaks into a file, and only its end shows in the channel.
proc JobState {} {
    variable job
    if {![dict size $job]} { return none }
    if {[dict get $job state] eq "running"} {
        set channel [dict get $job channel]
        fconfigure $channel -blocking 0
        read $channel
        set ended [eof $channel]
        Overhear
        if {$ended} { Reap }
    }
    return [dict get $job state]
}

proc Overhear {} {
    variable job
    set file [file join [dict get $job scratch] progress.txt]
    if {[catch {open $file r} channel]} return
    fconfigure $channel -encoding utf-8
    while {[gets $channel line] >= 0} {
        set text [string range $line 2 end]
        switch -- [string index $line 0] {
            P { dict set job last $text }
            E { dict set job error $text }
        }
    }
    close $channel
}

# After a run: take the answer over, or say why there is none.
proc Finish {} {
    variable job
    set trouble [Trouble]
    if {$trouble ne ""} { Refuse $trouble }
    Discard [dict get $job scratch]
    dict set job taken 1
    set answer [ReadAnswer [dict get $job run]]
    foreach line [dict get $answer summary] { Say $line }
    set given [dict get $job given]
    TakeOver $answer [expr {![dict exists $given nobest]}] [expr {![dict exists $given nochain]}]
}

# Why the last run has no answer; empty when it has one.
proc Trouble {} {
    variable job
    set code [dict get $job code]
    set run [dict get $job run]
    if {$code in {0 3}} { return "" }
    set scratch [dict get $job scratch]
    if {[dict get $job error] ne ""} {
        Discard $scratch
        return [dict get $job error]
    }
    set words [LastWords [file join $scratch log.txt]]
    if {[regexp {^[A-Z]} $code]} {
        set what "the Python side was killed ($code)"
    } else {
        set what "the Python side failed (status $code)"
    }
    if {$words ne ""} { append what ": $words" }
    return "$what; its output is in [file join $scratch log.txt]"
}

proc LastWords {file} {
    if {[catch {open $file r} channel]} { return "" }
    set last ""
    while {[gets $channel line] >= 0} {
        if {[string trim $line] ne ""} { set last [string trim $line] }
    }
    close $channel
    return [string range $last 0 200]
}

# Remove a scratch folder: the files that are ours, by name.
proc Discard {scratch} {
    if {$scratch eq "" || ![string match */sixsa.* $scratch]} return
    foreach name {session.xcm handover.txt log.txt progress.txt} {
        catch {file delete -- [file join $scratch $name]}
    }
    catch {file delete -- $scratch}
}

proc Status {args} {
    variable job
    switch -- [JobState] {
        none { Say "sixsa: nothing has run in this session" }
        running {
            set last [dict get $job last]
            Say "sixsa: [dict get $job doing] in the background, process [dict get $job pid], into [dict get $job run]"
            if {$last ne ""} { Say "  $last" }
        }
        ended { StatusEnded }
    }
}

proc StatusEnded {} {
    variable job
    set trouble [Trouble]
    if {$trouble ne ""} {
        Say "sixsa: the last run ended early: $trouble"
        return
    }
    if {![dict get $job taken]} {
        # the first look at a run that ended in the background
        return [Finish]
    }
    Say "sixsa: [dict get [ReadAnswer [dict get $job run]] verdict]"
    Say "  run in [dict get $job run]; sixsa show, sixsa chain and sixsa best take it from there"
}

proc Stop {args} {
    variable job
    if {[JobState] ne "running"} { Refuse "nothing runs in the background" }
    catch {exec kill -INT [dict get $job pid]}
    dict set job doing stopping
    Say "sixsa: asked process [dict get $job pid] to stop; what it has is written to [dict get $job run]"
}

}
