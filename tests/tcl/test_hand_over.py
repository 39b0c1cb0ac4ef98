"""Priors and the hand-over of the ``sixsa`` command, under a plain Tcl shell."""

import re

import pytest

from xsixsa.prompt.handover import read_hand_over
from xsixsa.prompt.install import tcl_word
from xsixsa.prompt.records import read_records

pytestmark = pytest.mark.tcl

# priors


def test_priors_given_are_listed_replaced_removed_and_handed_over(prompt):
    out = prompt(
        "sixsa prior nH uniform 0 0.5",
        "sixsa prior 2 gauss 2 0.1",
        "sixsa prior norm log 1e-5 1e-2",
        "sixsa prior nH uniform 0 1",
        "sixsa prior",
        "sixsa prior 2 none",
        "sixsa run",
    )
    assert "nH  uniform 0 1" in out and "norm  loguniform 1e-5 1e-2" in out
    assert read_hand_over(prompt.seen).priors == {"nH": "uniform:0.0:1.0", "norm": "loguniform:1e-05:0.01"}
    prompt("sixsa prior nH uniform 0 1", "sixsa prior clear", "sixsa run")
    assert read_hand_over(prompt.seen).priors == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nH", "usage: sixsa prior PAR"),
        ("nH flat 0 1", 'no distribution "flat"; there are uniform, loguniform, gaussian'),
        ("nH uniform 0", "usage: sixsa prior nH uniform LOW HIGH"),
        ("nH uniform 0 [list exit]", '"exit" is not a number'),
        ("nH uniform 1 0", "the prior of nH is empty"),
        ("nH loguniform 0 1", "needs a positive LOW"),
        ("nH gaussian 1 0", "SIGMA of nH must be positive"),
        ("kT uniform 0 1", 'no free parameter "kT"; there are PhoIndex, nH, norm'),
        ("7 uniform 0 1", 'no free parameter "7"'),
        ("norm none", "no prior was given for norm"),
    ],
)
def test_wrong_prior(prompt, words, message):
    assert message in prompt.refused(f"sixsa prior {words}")


@pytest.mark.parametrize("name", ["nh", "TBabs.nH", "2", "powerlaw.norm@1"])
def test_forms_of_a_parameter_name(prompt, name):
    prompt(f"sixsa prior {name} uniform 0 1")


# what bayes was told


@pytest.mark.parametrize(
    ("lines", "native"),
    [
        (["bayes 2 gauss 2.0 0.1"], {("", 2): ("gauss", 2.0, 0.1)}),
        (["bayes 2,gauss,2.0,0.1"], {("", 2): ("gauss", 2.0, 0.1)}),
        (["bayes 2 , gauss , 2.0 , 0.1"], {("", 2): ("gauss", 2.0, 0.1)}),
        (["bayes 2 GA 2.0 0.1", "bayes 3 jef"], {("", 2): ("gauss", 2.0, 0.1), ("", 3): ("jeffreys",)}),
        (["bayes 1 exp 0.5", "bayes 2 gauss 1 2", "bayes 1 cons"], {("", 2): ("gauss", 1.0, 2.0)}),
        # what is not told is as it was told last
        (["bayes 2 gauss 2.0 0.1", "bayes 1,,3"], {("", 2): ("gauss", 2.0, 0.1), ("", 1): ("gauss", 3.0, 0.1)}),
        (["bayes 2 gauss 2.0 0.1", "bayes ,exp,4"], {("", 2): ("exp", 4.0)}),
        (["bayes 2 gauss 2.0 0.1", "bayes cons"], {}),
        (["bayes 2 gauss 2.0 0.1", "bayes off"], {("", 2): ("gauss", 2.0, 0.1)}),
        # XSPEC refused it
        (["catch {bayes 9 gauss 2.0 0.1}"], {}),
        # a new model begins without priors
        (["bayes 2 gauss 2.0 0.1", "model phabs*bbody"], {}),
        (["bayes 2 gauss 2.0 0.1", "model 2:bkg powerlaw"], {("", 2): ("gauss", 2.0, 0.1)}),
        # frozen or linked parameters have no prior
        (["bayes 2 gauss 2.0 0.1", "lset standin::parameters 1 5 -0.01"], {}),
    ],
)
def test_bayes_is_recorded(prompt, lines, native):
    prompt.environment["SIXSA_VALUES"] = "0.1 2 0.001" if "lset" not in lines[-1] else "0.1 0.001"
    prompt(*lines, "sixsa run")
    assert read_hand_over(prompt.seen).native == native


def test_statistic_is_handed_over_without_the_prior(prompt):
    out = prompt("tclout stat", "puts STAT$xspec_tclout", "bayes 2 gauss 2.5 0.1", "bayes on", "sixsa run -nobest")
    assert read_hand_over(prompt.seen).statistic == float(re.search("STAT(.*)", out)[1])
    assert "BAYES on" in out


def test_bayes_off_costs_no_fit(prompt):
    """Switching bayes makes XSPEC forget its fit, so it is left alone where it is known to be off."""
    out = prompt("proc bayes {args} {puts TOUCHED}", "sixsa run -nobest")
    assert "TOUCHED" not in out


UNRECORDED = ("bayes 2 gauss 2.5 0.1", "bayes on")


def test_prior_set_before_the_command_was_there(prompt):
    message = prompt.refused("sixsa run", before=UNRECORDED)
    assert "bayes is on with priors that were set before" in message and "sixsa prior" in message
    given = [f"sixsa prior {name} uniform 0 10" for name in ("nH", "PhoIndex", "norm")]
    out = prompt(*given, "sixsa run -nobest", before=UNRECORDED)
    assert "chain load" in out and "BAYES on" in out


def test_prior_set_before_but_repeated_since(prompt):
    out = prompt("bayes 2 gauss 2.5 0.1", "sixsa run -nobest", before=UNRECORDED)
    assert read_hand_over(prompt.seen).native == {("", 2): ("gauss", 2.5, 0.1)}
    assert "BAYES on" in out


def test_bayes_that_was_never_on_stays_off(prompt):
    out = prompt("sixsa run", before=("bayes 2 gauss 2.5 0.1",))
    assert "BAYES off" in out


def test_model_edited_after_bayes(prompt):
    lines = ["bayes 2 gauss 2.5 0.1", "addcomp 1 phabs"]
    assert "the model was edited after bayes had set priors" in prompt.refused(*lines, "sixsa run")
    assert "no longer known" in prompt(*lines, "sixsa prior")
    prompt("addcomp 1 phabs", "bayes 2 gauss 2.5 0.1", "sixsa run")
    assert ("", 2) in read_hand_over(prompt.seen).native


def test_commands_that_save_leaves_out_are_repeated(prompt):
    prompt("energies extend high 50. 100 log", "lmod mine /some where", "mdefine cut exp(-E/p1) : mul", "sixsa run")
    assert read_hand_over(prompt.seen).repeated == (
        ("energies", "extend", "high", "50.", "100", "log"),
        ("lmod", "mine", "/some", "where"),
        ("mdefine", "cut", "exp(-E/p1)", ":", "mul"),
    )


# the hand-over


def test_hand_over_says_what_the_prompt_shows(prompt):
    prompt("sixsa run -out elsewhere")
    seen = read_hand_over(prompt.seen)
    assert seen.folder == str(prompt.folder) and seen.out == f"{prompt.folder}/elsewhere"
    assert (seen.bins, seen.dof, seen.model, seen.method) == (50, 47, "TBabs*powerlaw", "C-Statistic")
    assert [p.state for p in seen.parameters] == ["free"] * 3
    assert seen.parameters[0].value == 0.123457  # the six digits that XSPEC tells
    assert seen.parameters[1].limits == (0.01, -3, -2, 9, 10)
    assert seen.parameters[0].unit == "10^22" and seen.parameters[1].unit == ""


def test_records_have_the_same_form_in_both_languages(prompt):
    texts = ["", "%", "plain", "two words", "a\tb", "%41", "ünïcode €", "[x]$y;{z}\"'\\", "tail\\"]
    file = prompt.folder / "records.txt"
    words = " ".join(tcl_word(t) for t in texts)
    prompt(
        f"set texts [list {words}]",
        "::sixsa::WriteRecords records.txt [list {kind 1} $texts {end 3}]",
        "if {[lindex [::sixsa::ReadRecords records.txt] 1] ne $texts} {tclexit 9}",
    )
    assert read_records(file, "kind") == [texts]
