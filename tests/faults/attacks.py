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
    pause_guardian,
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
        (
            "tests/shepherd/test_processes.py::test_a_killed_muster_is_noticed_its_window_fails_and_its_node_is_restored",
            "tests/rowlog/test_chaos.py::test_kills_and_pauses_lose_repeat_and_reorder_nothing",
        ),
    ),
    Attack(
        Kind("kill a muster and its guardian", MUSTERS),
        "the unit's last command puts the node back; nothing is left in the journal",
        kill_both,
        ("tests/muster/test_guardian.py::test_where_both_are_killed_the_unit_s_last_command_puts_the_node_back",),
    ),
    Attack(
        Kind("kill a guardian", MUSTERS),
        "its muster puts the node back and ends with exit code 4",
        kill_guardian,
        ("tests/muster/test_guardian.py::test_without_its_guardian_a_muster_stops_and_says_so",),
    ),
    Attack(
        Kind("signal a muster", MUSTERS, ways=CAUGHT),
        "it puts the node back; exit code 0 for TERM and INT, 128 and the signal's number else",
        signal_muster,
        ("tests/muster/test_guardian.py::test_a_signal_that_can_be_caught_stops_it_in_good_order",),
    ),
    Attack(
        Kind("kill the shepherd"),
        "every node is put back within the lease",
        kill_shepherd,
        ("tests/shepherd/test_processes.py::test_a_killed_shepherds_lease_ends_and_its_successor_is_obeyed",),
    ),
    Attack(
        Kind("signal the shepherd", ways=[name for name in CAUGHT if name != "SIGHUP"]),
        "it ends in order, every node is put back; exit code as a muster's",
        signal_shepherd,
        ("tests/attacks/test_shepherds_end.py::test_a_signal_ends_it_in_order_and_its_node_is_put_back",),
    ),
    Attack(
        Kind("pause a muster", MUSTERS, (0.5, 6.0)),
        "within the lease nothing; beyond it the guardian ends it and puts the node back within the lease",
        pause_muster,
        (
            "tests/shepherd/test_processes.py::test_a_muster_that_stands_still_within_its_lease_is_missed_and_comes_back",
            "tests/shepherd/test_processes.py::test_a_muster_that_stands_still_beyond_its_lease_is_ended_and_its_node_restored",
        ),
    ),
    Attack(
        Kind("pause a guardian", MUSTERS, (0.5, 12.0)),
        "for some seconds nothing; beyond them its muster ends it, puts the node back and ends with exit code 4",
        pause_guardian,
        (
            "tests/muster/test_guardian.py::test_a_muster_whose_guardian_stands_still_ends_it_stops_and_says_so",
            "tests/muster/test_guardian.py::test_a_guardian_that_stands_still_keeps_no_next_life_out",
        ),
    ),
    Attack(
        Kind("pause the shepherd", seconds=(0.5, 6.0)),
        "within the lease nothing; beyond it every node is put back within the lease",
        pause_shepherd,
        ("tests/attacks/test_shepherds_end.py::test_one_that_stands_still_keeps_a_node_for_its_lease_and_no_longer",),
    ),
    Attack(
        Kind("cut the network", (*MUSTERS, "all"), (0.5, 8.0), ("both", "up", "down")),
        "who hears no beats puts its node back within the lease; the others keep theirs; nothing late is acted on",
        cut,
        ("tests/attacks/test_cut_off.py::test_a_node_that_is_cut_off_is_put_back_and_obeys_nothing_late",),
    ),
    Attack(
        Kind("cut a machine's network off", seconds=(0.5, 12.0), ways=("both", "up", "down", "unplugged")),
        "the same, where what is sent into the cut is lost",
        unplug,
        ("tests/attacks/test_cut_off.py::test_a_node_that_is_cut_off_is_put_back_and_obeys_nothing_late",),
        as_root=True,
    ),
    Attack(
        Kind("set the wall clock", seconds=(1.0, 3.0), ways=("3600", "-3600", "-86400", "1e7", "0")),
        "nothing changes",
        step_clock,
        (
            "tests/experiment/test_tally.py::test_the_last_attempt_counts_though_the_clock_was_set_back",
            "tests/store/test_store.py::test_wall_time_adds_up_over_runs_that_ended_and_runs_that_died",
        ),
    ),
    Attack(
        Kind("fill the disk of the logs", seconds=(2.0, 6.0)),
        "knobs stay; rows wait at their musters and come when there is room",
        full_logs,
        ("tests/rowlog/test_full_disk.py::test_a_shepherd_without_room_keeps_rows_at_the_muster",),
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of the logs", seconds=(2.0, 6.0), ways=("hangs", "crawls")),
        "knobs stay; rows come when it goes on",
        hanging_logs,
        ("tests/attacks/test_cut_off.py::test_a_shepherd_goes_on_deciding_while_the_disk_of_its_rows_stands_still",),
        as_root=True,
    ),
    Attack(
        Kind("fill the disk of a spool", seconds=(2.0, 6.0)),
        "knobs stay; rows wait in their source",
        full_spool,
        ("tests/rowlog/test_full_disk.py::test_a_muster_without_room_leaves_rows_in_their_sources",),
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of a spool", seconds=(2.0, 5.0), ways=("hangs", "crawls")),
        "where its muster stands still on it, the guardian ends it and puts the node back within the lease",
        hanging_spool,
        (
            "tests/muster/test_spools_disk.py::test_a_disk_that_hangs",
            "tests/muster/test_guardian.py::test_a_muster_whose_disk_hangs_is_ended_and_its_node_put_back",
        ),
        as_root=True,
    ),
    Attack(
        Kind("break the disk of the logs", seconds=(1.0, 3.0)),
        "knobs stay; rows wait at their musters; what was acknowledged is there when the disk is, and the rest comes",
        broken_logs,
        ("tests/attacks/test_broken_disks.py::test_the_disk_of_a_log",),
        as_root=True,
    ),
    Attack(
        Kind("break the disk of a spool", seconds=(1.0, 3.0)),
        "its muster goes on, or its guardian puts the node back at once; rows that were on it alone count as lost",
        broken_spool,
        (
            "tests/muster/test_spools_disk.py::test_a_file_of_the_spool_that_shrinks",
            "tests/attacks/test_broken_disks.py::test_the_disk_of_a_journal",
        ),
        as_root=True,
    ),
    Attack(
        Kind("start a muster twice", MUSTERS),
        "the second ends with exit code 3 and says who is there",
        second_life,
        ("tests/shepherd/test_processes.py::test_two_musters_do_not_share_a_state_folder",),
    ),
    Attack(
        Kind("start a second shepherd"),
        "it ends with exit code 3 and says that the ports are taken",
        second_shepherd,
        ("tests/attacks/test_shepherds_end.py::test_a_second_one_on_its_ports_ends_and_says_why",),
    ),
    Attack(
        Kind("start a second muster on a node", FED),
        "it ends with exit code 3 and says who has the knobs",
        second_muster,
        ("tests/attacks/test_two_owners.py::test_the_second_is_told_who_has_it",),
    ),
    Attack(
        Kind("take a key out of accepted/", MUSTERS),
        "its muster's node is put back, the others keep theirs; accepted again, it is back without a restart",
        key_taken_out,
        ("tests/wire/test_gate.py::test_a_key_that_is_taken_out_is_nobody_s_from_then_on",),
    ),
    Attack(
        Kind("give a muster another key", MUSTERS),
        "what has the old one is nobody, its node is put back; the next life has the new one; the others keep theirs",
        new_key,
        (
            "tests/wire/test_gate.py::test_a_key_that_is_new_is_let_in_without_a_restart",
            "tests/wire/test_gate.py::test_a_key_that_is_taken_out_is_nobody_s_from_then_on",
        ),
    ),
    Attack(
        Kind("start a clone of a machine", MUSTERS[:1]),
        "the one that joined last stays, and it is said; the other's node is put back; with the clone gone it is back",
        clone,
        ("tests/attacks/test_odd_ends.py::test_of_two_clones_the_one_that_joined_last_stays_and_it_is_said_once",),
    ),
    Attack(
        Kind("ask with a muster's key", MUSTERS),
        "nobody listens, no knob changes",
        muster_as_operator,
        ("tests/wire/test_gate.py::test_nobody_else_may_ask_for_anything",),
    ),
    Attack(
        Kind("send mutated frames", ("",), (1.0, 3.0), ("pulse", "log")),
        "no knob changes, nobody ends, every honest muster goes on",
        odd_peer,
        (
            "tests/wire/test_codec.py::test_random_bytes_are_a_message_or_a_value_error",
            "tests/wire/test_gone_peers.py::test_one_that_sends_faster_than_is_read_is_ended",
        ),
    ),
)
