"""What the roles compute in Python: kernel settings, server layout, converted sources."""

import ast

import pytest

from tests.roles.scripts import load

kernel = load("kernel_ixgbe/filter_plugins/kernel_config.py")
memcached = load("memcached_mutilate/filter_plugins/memcached_plan.py")
convert = load("memcached_mutilate/files/convert_mutilate.py")

CONFIG = """CONFIG_X86_MSR=y
CONFIG_IXGBE=m
# CONFIG_DEBUG_INFO_BTF is not set
CONFIG_SYSTEM_TRUSTED_KEYS=""
CONFIG_HZ=250
"""


def test_settings_become_arguments_of_the_kernels_own_tool() -> None:
    assert kernel.config_arguments({"A": "y", "B": "m", "C": "n", "D": "", "E": 250, "F": True}) == [
        *("--enable", "A", "--module", "B", "--disable", "C", "--set-str", "D", "", "--set-val", "E", "250"),
        *("--enable", "F"),
    ]


@pytest.mark.parametrize(
    ("settings", "unmet"),
    [
        ({"X86_MSR": "y", "IXGBE": "m", "DEBUG_INFO_BTF": "n", "SYSTEM_TRUSTED_KEYS": "", "HZ": 250}, []),
        ({"X86_MSR": "m"}, ["X86_MSR=m (is y)"]),
        ({"IXGBE": "n"}, ["IXGBE=n (is m)"]),
        ({"NOT_THERE": "y"}, ["NOT_THERE=y (is off)"]),
        ({"NOT_THERE": "n", "NOR_THIS": ""}, []),
        ({"X86_MSR": True, "DEBUG_INFO_BTF": False}, []),
    ],
)
def test_what_a_configuration_lacks_is_named(settings: dict[str, object], unmet: list[str]) -> None:
    assert kernel.config_unmet(CONFIG, settings) == unmet


def test_one_server_over_the_pinned_cores() -> None:
    assert memcached.plan(1, 11211, "0-6,8-14", ["0-7", "8-15"], 0, 16) == [
        {
            "unit": "mustherd-memcached-0.service",
            "port": 11211,
            "cores": "0 1 2 3 4 5 6 8 9 10 11 12 13 14",
            "node": None,
            "threads": 14,
        }
    ]


def test_a_server_per_socket_keeps_to_its_socket() -> None:
    first, second = memcached.plan(2, 11211, "0-6,8-14", ["0-7", "8-15"], 0, 16)
    assert (first["port"], first["node"], first["cores"]) == (11211, 0, "0 1 2 3 4 5 6")
    assert (second["port"], second["node"], second["cores"]) == (11212, 1, "8 9 10 11 12 13 14")
    assert first["threads"] == 7


def test_nothing_pinned_uses_all_processors() -> None:
    assert memcached.plan(1, 11211, "", [], 0, 12)[0]["threads"] == 12


def test_two_servers_need_two_sockets() -> None:
    with pytest.raises(ValueError, match="herd_sockets names 1"):
        memcached.plan(2, 11211, "", ["0-7"], 0, 8)


PYTHON_2 = """import os
if not ok:
    print "A compiler with C++11 support is required."
    Exit(1)
print "Checking for gengetopt...",
if env.Execute("@which gengetopt &> /dev/null"):
    print "not found (required)"
else: print "found"
# print "a comment" stays
print("already converted")
"""


def test_an_sconstruct_of_python_2_becomes_python_3_once() -> None:
    once = convert.sconstruct(PYTHON_2)
    ast.parse(once)
    assert 'print("Checking for gengetopt...", end=" ")' in once
    assert 'else: print("found")' in once
    assert "&>" not in once
    assert '# print "a comment" stays' in once
    assert convert.sconstruct(once) == once


def test_a_null_string_is_not_taken_apart() -> None:
    line = '  char *s1 = strtok_r(a_ptr, ",", &saveptr);\n  char *s2 = strtok_r(NULL, ",", &saveptr);\n'
    once = convert.generator(line)
    assert once.count("a_ptr ? strtok_r(") == 2
    assert convert.generator(once) == once
