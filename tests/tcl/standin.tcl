# A stand-in of XSPEC's commands for plain tclsh: one model, one statistic, everything that was done on record.
# Like XSPEC it renames error, exit, flush and time, and answers tclout in the variable xspec_tclout of the caller.

foreach command {error exit flush time} {
    rename $command tcl$command
    proc $command {args} [list spoiled $command]
}
proc spoiled {command} {
    puts stderr "XSPEC's own $command was called"
    tclexit 99
}

namespace eval standin {
    variable chatter {10 10}
    variable query on
    variable bayes off
    variable model {TBabs*powerlaw}
    variable calls {}
    variable spectra [list /data/source.pha]
    variable bins 50
    variable chains {}
    variable saved "model  TBabs*powerlaw\n"
    # name unit value best width delta min bottom top max state
    variable parameters {
        {nH 10^22 0.123456789 0.1 0.02 0.001 0 0 100000 1e+06 F}
        {PhoIndex {} 2.0000004 2.2 0.1 0.01 -3 -2 9 10 F}
        {norm {} 0.00123 0.001 0.0001 0.01 0 0 1e+20 1e+24 F}
    }
    variable priors {}
}

proc standin::statistic {} {
    variable parameters
    variable bayes
    variable priors
    set c 90.0
    set i 0
    foreach row $parameters {
        incr i
        set v [lindex $row 2]
        set c [expr {$c + (($v - [lindex $row 3]) / [lindex $row 4]) ** 2}]
        if {$bayes eq "on" && [dict exists $priors $i]} {
            lassign [dict get $priors $i] kind a b
            switch -- $kind {
                gauss { set c [expr {$c + log(6.283185307179586 * $b * $b) + (($v - $a) / $b) ** 2}] }
                exp { set c [expr {$c + 2 * ($v / $a + log($a))}] }
                jeffreys { set c [expr {$c + 2 * log($v)}] }
            }
        }
    }
    return [format %.10g $c]
}

proc standin::answer {question words} {
    variable parameters
    set row {}
    if {$question in {pinfo plink param}} {
        set row [lindex $parameters [expr {[lindex [split [lindex $words 0] :] end] - 1}]]
    }
    switch -- $question {
        version { return 12.9.1 }
        datasets { return [llength $standin::spectra] }
        filename { return [lindex $standin::spectra [expr {[lindex $words 0] - 1}]] }
        model { return $standin::model }
        modpar { return [llength $parameters] }
        stat { return [standin::statistic] }
        statmethod { return "C-Statistic" }
        dof { return [list [expr {$standin::bins - 3}] $standin::bins] }
        chatter { return $standin::chatter }
        query { return $standin::query }
        pinfo { return "[lindex $row 0] [lindex $row 1] " }
        plink { return [lindex $row 10] }
        param {
            set numbers {}
            foreach number [concat [lindex $row 2] [lrange $row 5 9]] { lappend numbers [format %g $number] }
            return $numbers
        }
    }
    return -code error "no such question"
}

proc tclout {question args} {
    upvar 1 xspec_tclout answer
    if {[catch {standin::answer $question $args} text]} {
        puts stderr "$question is not currently a valid TCLOUT option."
        return -code error ""
    }
    set answer $text
    return
}

proc standin::record {args} { lappend standin::calls $args }

proc chatter {args} { set standin::chatter $args }
proc query {word} { set standin::query $word }
proc save {what file} {
    standin::record save $what $file
    if {[file exists $file]} { return -code error "it would ask" }
    set channel [open $file w]
    puts -nonewline $channel $standin::saved
    close $channel
}
proc newpar {index value} {
    standin::record newpar $index $value
    lset standin::parameters [expr {$index - 1}] 2 $value
}
proc fit {args} {
    standin::record fit
    foreach i {0 1 2} { lset standin::parameters $i 2 [lindex $standin::parameters $i 3] }
}
proc chain {verb args} {
    standin::record chain $verb {*}$args
    if {$verb eq "load"} {
        set file [lindex $args 0]
        if {[regexp {[][() ]} $file] || ![file isfile $file]} { return -code error "" }
        lappend standin::chains $file
    } elseif {$verb eq "clear"} {
        set standin::chains {}
    }
}
proc bayes {args} {
    if {![llength $args]} { return }
    set words [split [string map {" " ,} [regsub -all {\s*,\s*} [join $args " "] ,]] ,]
    switch -- [lindex $words 0] {
        on - off { set standin::bayes [lindex $words 0] }
        cons { set standin::priors {}; set standin::bayes on }
        default {
            # XSPEC takes the parameter of the last time
            if {[lindex $words 0] eq ""} return
            if {![string is integer -strict [lindex $words 0]] || [lindex $words 0] > 3} { return -code error "" }
            dict set standin::priors [lindex $words 0] [lrange $words 1 end]
        }
    }
}
foreach command {model addcomp delcomp editmod energies lmod mdefine} {
    proc $command {args} [list standin::record $command]
}
# scripts: XSPEC evaluates them whole and drops the message of an error that ends them
proc unknown {args} {
    if {[string match @* [lindex $args 0]]} {
        set channel [open [string range [lindex $args 0] 1 end] r]
        set text [read $channel]
        close $channel
        uplevel #0 [list catch $text]
        return
    }
    return -code error "invalid command name \"[lindex $args 0]\""
}

proc report {} {
    foreach call $standin::calls { puts "CALL $call" }
    puts "CHATTER $standin::chatter"
    puts "QUERY $standin::query"
    puts "BAYES $standin::bayes"
    foreach file $standin::chains { puts "CHAIN $file" }
}
