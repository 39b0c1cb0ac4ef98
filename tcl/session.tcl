# The loaded session: reading XSPEC, and the hand-over to the Python side.

namespace eval ::sixsa {

# XSPEC's answer to one `tclout` question.
proc Tclout {args} {
    if {[catch {::tclout {*}$args}]} {
        Refuse "XSPEC does not answer \"tclout $args\""
    }
    # set in the calling procedure, as far as XSPEC 12 goes
    if {[info exists xspec_tclout]} { return $xspec_tclout }
    return $::xspec_tclout
}

# Run a command with XSPEC silent and not asking; chatter and query are put back whatever happens.
proc Quietly {args} {
    set chatter [Tclout chatter]
    set query [Tclout query]
    ::chatter 0 0
    ::query yes
    set code [catch {uplevel 1 $args} result options]
    ::query $query
    ::chatter {*}$chatter
    return -options $options $result
}

proc RequireSession {} {
    if {[Tclout datasets] < 1} { Refuse "no data are loaded" }
    if {[string trim [Tclout model]] eq ""} { Refuse "no model is defined" }
    if {[lindex [Tclout dof] 1] < 1} { Refuse "no channel is noticed" }
}

# Names of the models, the unnamed one as "".
proc Sources {} {
    # a named model is shown as "name: expression"; the unnamed one comes first
    set expressions [string trim [Tclout model]]
    set names {}
    if {![regexp {^[A-Za-z]\w*:\s} $expressions]} { lappend names "" }
    foreach {all name} [regexp -all -inline {([A-Za-z]\w*):(?=\s)} $expressions] {
        if {$name ni $names} { lappend names $name }
    }
    return $names
}

proc Specifier {source index} {
    if {$source eq ""} { return $index }
    return $source:$index
}

# {source index name unit state value delta min bottom top max} of every parameter; state is free, frozen or linked.
proc Parameters {} {
    set rows {}
    foreach source [Sources] {
        set count [Tclout modpar {*}$source]
        for {set i 1} {$i <= $count} {incr i} {
            set which [Specifier $source $i]
            lassign [Tclout pinfo $which] name unit
            set numbers [lrange [Tclout param $which] 0 5]
            if {[string match "T*" [string trim [Tclout plink $which]]]} {
                set state linked
            } elseif {[lindex $numbers 1] < 0} {
                set state frozen
            } else {
                set state free
            }
            while {[llength $numbers] < 6} { lappend numbers nan }
            lappend rows [concat [list $source $i $name $unit $state] $numbers]
        }
    }
    return $rows
}

proc FreeParameters {} {
    set rows {}
    foreach row [Parameters] {
        if {[lindex $row 4] eq "free"} { lappend rows $row }
    }
    return $rows
}

# A folder of our own with a plain name.
proc Scratch {} {
    set base /tmp
    if {[info exists ::env(TMPDIR)] && [SafeName $::env(TMPDIR)] && [file isdirectory $::env(TMPDIR)]} {
        set base $::env(TMPDIR)
    }
    return [exec mktemp -d [file join $base sixsa.XXXXXX]]
}

# Whether XSPEC takes a file name as it stands: brackets and parentheses mean something else to FITSIO.
proc SafeName {name} {
    regexp {^[A-Za-z0-9_./+@-]+$} $name
}

# Save the session and write the hand-over: a text of one record per line that Python reads and checks.
# `task` is run, or bxa and the folder of a run.
proc HandOver {scratch run task options} {
    variable version
    set saved [file join $scratch session.xcm]
    set records [list [list xsixsa-handover $version]]
    lappend records [linsert $task 0 task] [list tcl [info patchlevel]] [list xspec [Tclout version]]
    lappend records [list folder [pwd]] [list saved $saved] [list out $run]
    lappend records [list statistic [PureStatistic]] [list method [Tclout statmethod]]
    lassign [Tclout dof] dof bins
    lappend records [list bins $bins $dof] [list model [string trim [Tclout model]]]
    set spectra [Tclout datasets]
    for {set i 1} {$i <= $spectra} {incr i} {
        lappend records [list spectrum $i [string trim [Tclout filename $i]]]
    }
    foreach row [Parameters] { lappend records [linsert $row 0 parameter] }
    set records [concat $records [RecordedPriors] [RecordedCommands] [GivenPriors]]
    dict for {name value} $options { lappend records [list option $name $value] }
    lappend records [list end [expr {[llength $records] + 1}]]
    if {[catch {::save all $saved}] || ![file exists $saved]} {
        Refuse "XSPEC could not save the session to $saved"
    }
    set file [file join $scratch handover.txt]
    WriteRecords $file $records
    return $file
}

}
