"""Attacks on a herd by hand, each with what has to come of it; tests.faults.experiment has those on an experiment."""

from tests.faults.came import Attack
from tests.faults.harm import (
    CAUGHT,
    broken_logs,
    broken_spool,
    cut,
    full_logs,
    full_spool,
    hanging_logs,
    hanging_spool,
    kill_both,
    kill_guardian,
    kill_muster,
    kill_shepherd,
    pause_muster,
    pause_shepherd,
    signal_muster,
    signal_shepherd,
    step_clock,
    unplug,
)
from tests.faults.member import FED, MUSTERS
from tests.faults.neighbours import (
    clone,
    key_taken_out,
    muster_as_operator,
    new_key,
    odd_peer,
    second_life,
    second_muster,
    second_shepherd,
)
from tests.faults.schedule import Kind

ATTACKS = (
    Attack(
        Kind("kill a muster", MUSTERS),
        "its guardian puts the node back at once; its next life reads on, no row lost or doubled",
        kill_muster,
    ),
    Attack(
        Kind("kill a muster and its guardian", MUSTERS),
        "the unit's last command puts the node back; nothing is left in the journal",
        kill_both,
    ),
    Attack(Kind("kill a guardian", MUSTERS), "its muster puts the node back and ends with exit code 4", kill_guardian),
    Attack(
        Kind("signal a muster", MUSTERS, ways=CAUGHT),
        "it puts the node back; exit code 0 for TERM and INT, 128 and the signal's number else",
        signal_muster,
    ),
    Attack(Kind("kill the shepherd"), "every node is put back within the lease", kill_shepherd),
    Attack(
        Kind("signal the shepherd", ways=[name for name in CAUGHT if name != "SIGHUP"]),
        "it ends in order, every node is put back; exit code as a muster's",
        signal_shepherd,
    ),
    Attack(
        Kind("pause a muster", MUSTERS, (0.5, 6.0)),
        "within the lease nothing; beyond it the guardian ends it and puts the node back within the lease",
        pause_muster,
    ),
    Attack(
        Kind("pause the shepherd", seconds=(0.5, 6.0)),
        "within the lease nothing; beyond it every node is put back within the lease",
        pause_shepherd,
    ),
    Attack(
        Kind("cut the network", (*MUSTERS, "all"), (0.5, 8.0), ("both", "up", "down")),
        "who hears no beats puts its node back within the lease; the others keep theirs; nothing late is acted on",
        cut,
    ),
    Attack(
        Kind("cut a machine's network off", seconds=(0.5, 12.0), ways=("both", "up", "down", "unplugged")),
        "the same, where what is sent into the cut is lost",
        unplug,
        as_root=True,
    ),
    Attack(
        Kind("set the wall clock", seconds=(1.0, 3.0), ways=("3600", "-3600", "-86400", "1e7", "0")),
        "nothing changes",
        step_clock,
    ),
    Attack(
        Kind("fill the disk of the logs", seconds=(2.0, 6.0)),
        "knobs stay; rows wait at their musters and come when there is room",
        full_logs,
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of the logs", seconds=(2.0, 6.0), ways=("hangs", "crawls")),
        "knobs stay; rows come when it goes on",
        hanging_logs,
        as_root=True,
    ),
    Attack(
        Kind("fill the disk of a spool", seconds=(2.0, 6.0)),
        "knobs stay; rows wait in their source",
        full_spool,
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of a spool", seconds=(2.0, 5.0), ways=("hangs", "crawls")),
        "where its muster stands still on it, the guardian ends it and puts the node back within the lease",
        hanging_spool,
        as_root=True,
    ),
    Attack(
        Kind("break the disk of the logs", seconds=(1.0, 3.0)),
        "knobs stay; rows wait at their musters; what was acknowledged is there when the disk is, and the rest comes",
        broken_logs,
        as_root=True,
    ),
    Attack(
        Kind("break the disk of a spool", seconds=(1.0, 3.0)),
        "its muster goes on, or its guardian puts the node back at once; rows that were on it alone count as lost",
        broken_spool,
        as_root=True,
    ),
    Attack(
        Kind("start a muster twice", MUSTERS), "the second ends with exit code 3 and says who is there", second_life
    ),
    Attack(
        Kind("start a second shepherd"), "it ends with exit code 3 and says that the ports are taken", second_shepherd
    ),
    Attack(
        Kind("start a second muster on a node", FED),
        "it ends with exit code 3 and says who has the knobs",
        second_muster,
    ),
    Attack(
        Kind("take a key out of accepted/", MUSTERS),
        "its muster's node is put back, the others keep theirs; accepted again, it is back without a restart",
        key_taken_out,
    ),
    Attack(
        Kind("give a muster another key", MUSTERS),
        "what has the old one is nobody, its node is put back; the next life has the new one; the others keep theirs",
        new_key,
    ),
    Attack(
        Kind("start a clone of a machine", MUSTERS[:1]),
        "the one that joined last stays, and it is said; the other's node is put back; with the clone gone it is back",
        clone,
    ),
    Attack(Kind("ask with a muster's key", MUSTERS), "nobody listens, no knob changes", muster_as_operator),
    Attack(
        Kind("send mutated frames", ("",), (1.0, 3.0), ("pulse", "log")),
        "no knob changes, nobody ends, every honest muster goes on",
        odd_peer,
    ),
)
