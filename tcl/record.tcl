# What XSPEC 12.9 cannot be asked for, recorded as it is typed: priors of `bayes`, and commands that `save` leaves out.
# Also the priors given with `sixsa prior`.

namespace eval ::sixsa {

# source,index -> {type hyper ...}: what `bayes` was told
variable bayesPriors
# on, off, or unknown: this file was read into a session that had begun before
variable bayesState
# XSPEC's defaults for what `bayes` is not told: source index type hypers; empty when unknown
variable bayesDefaults
# commands to repeat, in order
variable repeated {}
# parameter -> {distribution numbers}, in the order given
variable givenPriors
# our own commands are not recorded
variable deaf 0

if {![info exists givenPriors]} {
    set givenPriors [dict create]
    array set bayesPriors {}
    set bayesState off
    set bayesDefaults [list "" 1 cons {}]
    if {![catch {::tclout datasets}] && [info exists xspec_tclout] && $xspec_tclout > 0} {
        set bayesState unknown
        set bayesDefaults {}
    }
    unset -nocomplain xspec_tclout
}

proc Watch {} {
    foreach {command handler} {
        bayes OnBayes model OnModel addcomp OnEdit delcomp OnEdit editmod OnEdit
        energies OnRepeat lmod OnRepeat mdefine OnRepeat
    } {
        if {![llength [info commands ::$command]]} continue
        set prefix [list ::sixsa::Heard $handler]
        trace remove execution ::$command leave $prefix
        trace add execution ::$command leave $prefix
    }
}

# A trace must not fail, nor look at a command that did.
proc Heard {handler command code result operation} {
    variable deaf
    if {$deaf || $code != 0} return
    catch {$handler [namespace tail [lindex $command 0]] [lrange $command 1 end]}
}

proc OnModel {command words} {
    # a new model starts without priors
    variable bayesPriors
    if {[lindex $words 0] eq "?" || ![llength $words]} return
    set source ""
    regexp {^\d+:([A-Za-z]\w*)$} [lindex $words 0] all source
    array unset bayesPriors [string map {* \\* ? \\? [ \\[} $source],*
}

proc OnEdit {command words} {
    # priors move with their parameters, whose numbers change: what was recorded is no longer known to be right
    variable bayesPriors
    if {[array size bayesPriors]} { set bayesPriors(edited) 1 }
}

proc OnRepeat {command words} {
    variable repeated
    lappend repeated [linsert $words 0 $command]
}

# Arguments as XSPEC splits them: at blanks and commas; two commas with nothing between leave a gap.
proc Split {words} {
    set text [string trim [regsub -all {\s*,\s*} [regsub -all {\s+} [join $words " "] " "] ","]]
    return [split [string map {" " ,} $text] ,]
}

proc OnBayes {command words} {
    variable bayesPriors
    variable bayesState
    variable bayesDefaults
    set words [Split $words]
    set first [string tolower [lindex $words 0]]
    if {![llength $words] || $first eq "?"} return
    if {[string is alpha -strict $first]} {
        switch -glob -- $first {
            c*          { array unset bayesPriors; set bayesState on }
            on          { set bayesState on }
            o - of - off { set bayesState off }
        }
        return
    }
    lassign $bayesDefaults source index type hypers
    if {$first ne ""} {
        set source ""
        set index $first
        regexp {^(\w+):(\d+)$} [lindex $words 0] all source index
        # a parameter of a response: the Python side refuses free gains anyway
        if {![string is integer -strict $index]} return
    }
    set named [lindex $words 1]
    if {$named ne ""} {
        set type [lindex {cons exp jeffreys gauss} [lsearch -glob {cons exp jeffreys gauss} [string tolower $named]*]]
    }
    if {$index eq "" || $type eq ""} {
        set bayesPriors(edited) 1
        return
    }
    set wanted [dict get {cons 0 exp 1 jeffreys 0 gauss 2} $type]
    for {set i 0} {$i < $wanted} {incr i} {
        set given [lindex $words [expr {$i + 2}]]
        if {$given ne ""} { set hypers [lreplace [concat $hypers {0 0}] $i $i $given] }
    }
    set hypers [lrange [concat $hypers {0 0}] 0 [expr {$wanted - 1}]]
    set bayesDefaults [list $source $index $type $hypers]
    set bayesPriors($source,$index) [concat [list $type] $hypers]
}

# Records for the Python side: priors that `bayes` set on parameters that are free now.
proc RecordedPriors {} {
    variable bayesPriors
    variable givenPriors
    set records {}
    set free [FreeParameters]
    if {[info exists bayesPriors(edited)]} {
        if {[dict size $givenPriors] >= [llength $free]} { return $records }
        Refuse "the model was edited after bayes had set priors, and XSPEC does not tell where they went:\
            give the prior of every free parameter with sixsa prior"
    }
    foreach row $free {
        lassign $row source index
        if {[info exists bayesPriors($source,$index)] && [lindex $bayesPriors($source,$index) 0] ne "cons"} {
            lappend records [concat [list bayes $source $index] $bayesPriors($source,$index)]
        }
    }
    return $records
}

proc RecordedCommands {} {
    variable repeated
    set records {}
    foreach words $repeated { lappend records [linsert $words 0 repeat] }
    return $records
}

# The fit statistic without what `bayes` adds to it. Where `bayes` may be on it is switched off for a moment: XSPEC
# forgets its last fit over that, so it is done only then.
proc PureStatistic {} {
    variable bayesState
    variable deaf
    set with [Tclout stat]
    if {$bayesState eq "off"} { return $with }
    incr deaf
    catch {::bayes off}
    set code [catch {Tclout stat} without options]
    if {$bayesState eq "on" || ($code == 0 && $without != $with)} {
        catch {::bayes on}
    }
    incr deaf -1
    if {$code} { return -options $options $without }
    if {$without != $with} { set bayesState on }
    if {$bayesState eq "on"} { CheckContribution [expr {$with - $without}] }
    return $without
}

# Refuse a contribution that the recorded priors do not explain, unless every parameter has a prior from `sixsa prior`.
proc CheckContribution {found} {
    variable bayesPriors
    variable givenPriors
    set expected 0.0
    set slack 1e-6
    foreach row [FreeParameters] {
        lassign $row source index name unit state value
        if {![info exists bayesPriors($source,$index)]} continue
        lassign $bayesPriors($source,$index) type first second
        # parameters are known to six digits
        set off [expr {abs($value) * 1e-5}]
        if {[catch {
            switch -- $type {
                exp {
                    set expected [expr {$expected + 2.0 * ($value / $first + log($first))}]
                    set slack [expr {$slack + 2.0 * $off / $first}]
                }
                jeffreys {
                    set expected [expr {$expected + 2.0 * log($value)}]
                    set slack [expr {$slack + 4e-5}]
                }
                gauss {
                    set z [expr {($value - $first) / double($second)}]
                    set expected [expr {$expected + log(6.283185307179586 * $second * $second) + $z * $z}]
                    set slack [expr {$slack + 2.0 * (abs($z) + $off / $second) * $off / $second}]
                }
            }
        }]} { set slack 1e300 }
    }
    if {![info exists bayesPriors(edited)] && abs($found - $expected) <= $slack + 1e-6 * abs($found)} return
    if {[dict size $givenPriors] >= [llength [FreeParameters]]} return
    Refuse "bayes is on with priors that were set before sixsa could record them (they add [format %.6g $found] to the\
        statistic, those recorded [format %.6g $expected]): give the prior of every free parameter with sixsa prior"
}

variable distributions {uniform {LOW HIGH} loguniform {LOW HIGH} gaussian {MEAN SIGMA}}

proc PriorVerb {args} {
    variable givenPriors
    if {![llength $args]} { return [ListPriors] }
    if {[lindex $args 0] eq "?"} { return [Help] }
    lassign $args parameter distribution
    if {$parameter eq "clear" && [llength $args] == 1} {
        set givenPriors [dict create]
        return
    }
    if {$distribution eq ""} { Refuse "usage: sixsa prior PAR uniform|loguniform|gaussian A B, or sixsa prior PAR none" }
    if {$distribution eq "none"} {
        if {![dict exists $givenPriors $parameter]} { Refuse "no prior was given for $parameter" }
        dict unset givenPriors $parameter
        return
    }
    CheckParameter $parameter
    dict set givenPriors $parameter [CheckDistribution $parameter $distribution [lrange $args 2 end]]
    return
}

proc CheckDistribution {parameter word numbers} {
    variable distributions
    set name [Unique $word [dict keys $distributions]]
    if {$name eq ""} { Refuse "no distribution \"$word\"; there are [join [dict keys $distributions] {, }]" }
    set wanted [dict get $distributions $name]
    if {[llength $numbers] != [llength $wanted]} { Refuse "usage: sixsa prior $parameter $name $wanted" }
    foreach number $numbers {
        if {![string is double -strict $number]} { Refuse "\"$number\" is not a number" }
    }
    lassign $numbers low high
    if {$name eq "gaussian" && $high <= 0} { Refuse "the SIGMA of $parameter must be positive, it is $high" }
    if {$name ne "gaussian" && $low >= $high} { Refuse "the prior of $parameter is empty: $low is not below $high" }
    if {$name eq "loguniform" && $low <= 0} { Refuse "loguniform needs a positive LOW, it is $low" }
    return [concat [list $name] $numbers]
}

# Catch a misspelt parameter at once where a model is loaded; the Python side has the last word.
proc CheckParameter {parameter} {
    if {[string trim [Tclout model]] eq ""} return
    set names {}
    foreach row [FreeParameters] {
        lassign $row source index name
        if {$parameter in [list $index $source:$index]} return
        if {[regexp -nocase -- "(^|\[.:\])[string map {. \\. + \\+ * \\*} $name](@\\d+)?\$" $parameter]} return
        lappend names $name
    }
    Refuse "no free parameter \"$parameter\"; there are [join [lsort -unique $names] {, }]"
}

proc ListPriors {} {
    variable givenPriors
    variable bayesPriors
    set lines {}
    dict for {parameter prior} $givenPriors { lappend lines "  $parameter  $prior" }
    if {[info exists bayesPriors(edited)]} {
        lappend lines "  (priors of bayes are no longer known since the model was edited)"
    } else {
        foreach key [lsort [array names bayesPriors]] {
            lassign [split $key ,] source index
            lappend lines "  [Specifier $source $index]  $bayesPriors($key)  (bayes)"
        }
    }
    if {![llength $lines]} { lappend lines "  none given: limits of the parameters, where they are a sensible range" }
    Say [join $lines \n]
}

proc GivenPriors {} {
    variable givenPriors
    set records {}
    dict for {parameter prior} $givenPriors { lappend records [concat [list prior $parameter] $prior] }
    return $records
}

Watch

}
