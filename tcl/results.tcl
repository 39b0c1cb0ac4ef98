# What a run leaves: the answer in its folder, and taking it over into XSPEC.

namespace eval ::sixsa {

# Folder of the run that a verb is about: the one named, or the last of this session.
proc RunNamed {words} {
    variable job
    if {[llength $words] > 1} { Refuse "one run at a time: [join $words {, }]" }
    if {[llength $words]} { return [Absolute [lindex $words 0]] }
    switch -- [JobState] {
        none { Refuse "nothing has run in this session; name the folder of a run" }
        running { Refuse "the run is still under way: see sixsa status" }
    }
    set trouble [Trouble]
    if {$trouble ne "" && ![file exists [AnswerFile [dict get $job run]]]} {
        Refuse "the last run has no answer: $trouble"
    }
    return [dict get $job run]
}

proc AnswerFile {run} { return "$run/prompt.txt" }

# Dictionary of what the Python side wrote for the prompt; `parameters` is a list of {source index name value}.
proc ReadAnswer {run} {
    set file [AnswerFile $run]
    if {![file isfile $file]} {
        if {[file isfile "$run/result.h5"]} {
            Refuse "$run was not run from the prompt: load its chain with chain load"
        }
        Refuse "$run holds no finished run"
    }
    set records [ReadRecords $file]
    variable version
    if {[lindex $records 0] ne [list xsixsa-answer $version]} {
        Refuse "$file is not an answer of this version of xsixsa"
    }
    set count [llength $records]
    if {[lindex $records end] ne [list end $count]} { Refuse "$file is not complete" }
    set answer [dict create run $run chain chain.fits parameters {} summary {}]
    foreach record [lrange $records 1 end-1] {
        set values [lassign $record key]
        switch -- $key {
            parameter { dict lappend answer parameters $values }
            summary   { dict lappend answer summary [lindex $values 0] }
            default   { dict set answer $key [lindex $values 0] }
        }
    }
    if {![regexp {^[A-Za-z0-9_.-]+$} [dict get $answer chain]]} { Refuse "$file names no chain" }
    foreach key {model verdict evidence} {
        if {![dict exists $answer $key]} { Refuse "$file does not tell the $key" }
    }
    return $answer
}

# Refuse unless the model at the prompt is the one of the run: same expression, same free parameters.
proc CheckModel {answer} {
    if {[string trim [Tclout model]] ne [dict get $answer model]} {
        Refuse "the model at the prompt is not that of the run ([dict get $answer model])"
    }
    set here {}
    foreach row [FreeParameters] { lappend here [Specifier [lindex $row 0] [lindex $row 1]] }
    set there {}
    foreach row [dict get $answer parameters] { lappend there [Specifier [lindex $row 0] [lindex $row 1]] }
    # named models may come in another order
    if {[lsort $here] ne [lsort $there]} {
        Refuse "the free parameters at the prompt ($here) are not those of the run ($there)"
    }
}

proc TakeOver {answer best chain} {
    if {!$best && !$chain} return
    RequireSession
    CheckModel $answer
    # the fit comes first: a chain counts only for the fit that it was loaded after
    if {$best} { Quietly SetBest $answer }
    if {$chain} { Quietly LoadChain $answer }
    set said {}
    if {$best} { lappend said "best parameters set and fitted (statistic [format %.2f [Tclout stat]])" }
    if {$chain} { lappend said "chain loaded, others unloaded" }
    Say "sixsa: [join $said {; }]"
}

proc SetBest {answer} {
    foreach row [dict get $answer parameters] {
        lassign $row source index name value
        if {![string is double -strict $value]} { Refuse "the best value of $name is \"$value\", no number" }
        if {[catch {::newpar [Specifier $source $index] $value}]} {
            Refuse "XSPEC did not take $name = $value"
        }
    }
    # flux and eqwidth give errors only after a fit
    if {[catch {::fit}]} { Refuse "the best parameters are set, but XSPEC's fit failed from there" }
}

proc LoadChain {answer} {
    set file "[dict get $answer run]/[dict get $answer chain]"
    if {![file isfile $file]} { Refuse "$file is gone" }
    set file [ChainName $file]
    catch {::chain clear}
    if {[catch {::chain load $file}]} { Refuse "XSPEC did not take the chain $file" }
}

# A name under which XSPEC can read a chain as long as it runs: absolute, since it opens the file again wherever the
# user may have gone, and without what FITSIO takes for a filter.
proc ChainName {file} {
    variable links
    if {[SafeName $file]} { return $file }
    if {[info exists links($file)] && [file exists $links($file)]} { return $links($file) }
    set links($file) [file join [Scratch] chain.fits]
    exec ln -s -- $file $links($file)
    return $links($file)
}

proc Show {args} {
    set answer [ReadAnswer [RunNamed $args]]
    foreach line [dict get $answer summary] { Say $line }
}

proc Evidence {args} {
    set answer [ReadAnswer [RunNamed $args]]
    Say "sixsa: log-evidence [dict get $answer evidence]; [dict get $answer verdict]"
}

proc Chain {args} { TakeOver [ReadAnswer [RunNamed $args]] 0 1 }

proc Best {args} { TakeOver [ReadAnswer [RunNamed $args]] 1 0 }

proc Plot {args} {
    set kinds {corner spectrum}
    if {![llength $args]} { Refuse "usage: sixsa plot [join $kinds |] ?RUN?" }
    set kind [Unique [lindex $args 0] $kinds]
    if {$kind eq ""} { Refuse "no plot \"[lindex $args 0]\"; there are [join $kinds {, }]" }
    set run [RunNamed [lrange $args 1 end]]
    set file "$run/$kind.png"
    if {![file isfile $file]} { Refuse "$run holds no $kind.png" }
    Say "sixsa: $file"
    View $file
}

# Show a picture in the desktop's viewer, where there is a desktop.
proc View {file} {
    if {$::tcl_platform(os) eq "Darwin"} {
        set viewer open
    } elseif {[info exists ::env(DISPLAY)] || [info exists ::env(WAYLAND_DISPLAY)]} {
        set viewer xdg-open
    } else {
        return
    }
    if {[info exists ::env(SIXSA_VIEWER)]} { set viewer $::env(SIXSA_VIEWER) }
    if {[auto_execok $viewer] eq ""} return
    catch {exec $viewer $file > /dev/null 2> /dev/null < /dev/null &}
}

}
