# sixsa: exact posteriors by simulation-based inference, at the XSPEC prompt.
#
# Written for Tcl 8.5 (XSPEC 12.9) and 8.6. XSPEC renames Tcl's error, exit, flush and time: none of them is used here.
# Nothing that comes from the user, from XSPEC or from the Python side is ever evaluated or substituted: commands are
# built as lists.
#
# All code stands inside `namespace eval`: in batch scripts XSPEC echoes every command of level 0, and this is level 1.

namespace eval ::sixsa {
    variable version 1
    # interpreter that runs the Python side; the installer sets it before this file is read
    variable python
    # folder of these files
    variable home [file dirname [file normalize [info script]]]
    # on one line: XSPEC looks through scripts for lines that begin with `source`, and would take this for a name
    foreach part {speech session record run results} { source [file join $home $part.tcl] }
    unset part
}

namespace eval :: {
proc sixsa {args} {
    set code [catch {::sixsa::Dispatch $args} result]
    if {$code == 0} { return $result }
    if {[string match "::sixsa::refused *" $::errorCode]} {
        set message "sixsa: $result"
    } else {
        set message "sixsa: internal error: $result"
    }
    ::sixsa::EchoError $message
    return -code error $message
}
}

namespace eval ::sixsa {

# verb -> procedure; also what `sixsa help` lists
variable verbs {
    run      Run
    prior    PriorVerb
    status   Status
    show     Show
    plot     Plot
    chain    Chain
    best     Best
    evidence Evidence
    bxa      Bxa
    stop     Stop
    help     Help
}

proc Dispatch {words} {
    variable verbs
    set verb [lindex $words 0]
    if {$verb eq "" || $verb eq "?"} { set verb help }
    set full [Unique $verb [dict keys $verbs]]
    if {$full eq ""} {
        Refuse "no verb \"$verb\"; there are [join [dict keys $verbs] {, }]"
    }
    return [[dict get $verbs $full] {*}[lrange $words 1 end]]
}

# The one of `names` that `word` abbreviates; empty when there is none or more than one.
proc Unique {word names} {
    if {$word in $names} { return $word }
    set found {}
    foreach name $names {
        if {[string equal -length [string length $word] $word $name]} { lappend found $name }
    }
    if {[llength $found] != 1} { return "" }
    return [lindex $found 0]
}

# End the command with one line for the user.
proc Refuse {message} {
    return -code error -errorcode [list ::sixsa::refused 1] $message
}

proc Help {args} {
    Say {sixsa: exact posterior, evidence and chain of the loaded data and model

  sixsa run ?options?        posterior of the session as it stands; then loads the chain and sets the best
                             parameters, so that error, flux ... err, margin and plot chain work at once
      -ess N                 effective sample size to reach (default 10000)
      -seed N  -workers N    same seed, same result, with any number of workers
      -max-evaluations N     most model evaluations
      -preset NAME           quick, standard or thorough
      -out FOLDER            folder of the run (default sixsa-run, sixsa-run-2, ...)
      -engine NAME           auto, xspec (PyXspec) or embedded
      -bg                    in the background; sixsa status tells how far it is, and takes over the result
      -nobest  -nochain      leave the parameters, the loaded chains, as they are
  sixsa prior                priors given so far
  sixsa prior PAR DIST ARGS  uniform LOW HIGH, loguniform LOW HIGH or gaussian MEAN SIGMA; PAR is a name
                             (nH, powerlaw.norm, bkg:powerlaw.norm@2) or XSPEC's number; none removes
  sixsa status               what runs, or how the last run ended
  sixsa show ?RUN?           summary and verdict
  sixsa evidence ?RUN?       log-evidence
  sixsa plot corner|spectrum ?RUN?
  sixsa chain ?RUN?          load the chain (others are unloaded)
  sixsa best ?RUN?           set the best parameters and fit from there
  sixsa bxa ?RUN? ?options?  the same by BXA's nested sampling, on the prior cut to the posterior: a check
      -live N                live points (default 400); also -seed -workers -out -engine -bg
  sixsa stop                 end the run in the background; what it has is kept
  sixsa help

RUN is the folder of an earlier run; the last one of this session when left out.}
}

}
