"""What the roles compute in Python: kernel settings, server layout, converted sources."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.roles.scripts import ROLES, load, program

kernel = load("kernel_ixgbe/filter_plugins/kernel_config.py")
build = load("kernel_ixgbe/filter_plugins/kernel_build.py")
memcached = load("memcached_mutilate/filter_plugins/memcached_plan.py")
convert = load("memcached_mutilate/files/convert_mutilate.py")

CONFIG = """CONFIG_X86_MSR=y
CONFIG_IXGBE=m
# CONFIG_DEBUG_INFO_BTF is not set
CONFIG_SYSTEM_TRUSTED_KEYS=""
CONFIG_HZ=250
"""


LOG = """  CC      drivers/scsi/scsi_error.o
  CC      drivers/acpi/acpica/uterror.o
"""


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ("/bin/sh: 1: zstd: not found\nmake[2]: *** [x.zst] Error 127\n", "/bin/sh: 1: zstd: not found"),
        ("/bin/bash: line 1: pahole: command not found\n", "/bin/bash: line 1: pahole: command not found"),
        ("a.c:3:9: error: 'x' undeclared\nmake[1]: *** [a.o] Error 1\n", "a.c:3:9: error: 'x' undeclared"),
        (
            "a.c:1:10: fatal error: openssl/opensslv.h: No such file or directory\n",
            "a.c:1:10: fatal error: openssl/opensslv.h: No such file or directory",
        ),
        ("a.c:3:9: error: y\nas: cannot write: No space left on device\n", "as: cannot write: No space left on device"),
        (
            "gcc: fatal error: Killed signal terminated program cc1\n",
            "gcc: fatal error: Killed signal terminated program cc1",
        ),
        (
            "make: *** No rule to make target 'debian/x.pem', needed by 'y'.  Stop.\n",
            "make: *** No rule to make target 'debian/x.pem', needed by 'y'.  Stop.",
        ),
        ("  LD      vmlinux.o\n", ""),
    ],
)
def test_a_builds_cause_is_no_name_of_a_file(lines: str, cause: str) -> None:
    assert build.cause(LOG + lines) == cause


def test_a_switch_without_quotes_is_the_switch() -> None:
    assert [build.switch(v) for v in (True, False, "on", "off", "leave")] == ["on", "off", "on", "off", "leave"]


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


def job(place: str = "node0:/src/linux", **wants: str) -> dict[str, object]:
    return {"kernel_ixgbe_job": {"place": place, "wants": wants}}


def test_the_first_host_of_a_shared_build_leads_it() -> None:
    hosts = {"a": {}, "b": job(), "c": job("c:/src/linux"), "d": job()}
    assert build.sharers(list(hosts), hosts, "d") == ["b", "d"]
    assert build.sharers(list(hosts), hosts, "c") == ["c"]
    # One that has failed is not among the hosts any more.
    assert build.sharers(["d"], hosts, "d") == ["d"]


def test_hosts_that_share_a_build_must_want_the_same() -> None:
    hosts = {"a": job(release="6.1", revision="1"), "b": job(release="6.1", revision="2")}
    assert build.differences(["a"], hosts) == []
    assert build.differences(["a", "b"], hosts) == ["revision on a is 1, on b 2"]


def test_modules_of_every_node_are_kept() -> None:
    first = "ixgbe 376832 0 - Live 0x0000000000000000\nmdio 16384 1 ixgbe, Live 0x0\n"
    second = "Module                  Size  Used by\next4 1 0\nixgbe 376832  0\n"
    lines = build.modules_in_use([first, second, ""]).splitlines()
    assert lines == ["Module Size Used by", "ext4 0 0", "ixgbe 0 0", "mdio 0 0"]


MENU = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
fi
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-7f' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	linux	/boot/vmlinuz-6.1.192-herd root=UUID=7f ro
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-7f' {
	menuentry 'New' --class os $menuentry_id_option 'gnulinux-6.1.192-herd-advanced-7f' {
		linux	/boot/vmlinuz-6.1.192-herd root=UUID=7f ro
	}
	menuentry 'New (recovery)' --class os $menuentry_id_option 'gnulinux-6.1.192-herd-recovery-7f' {
		linux	/boot/vmlinuz-6.1.192-herd root=UUID=7f ro single
	}
	menuentry 'Old' --class os $menuentry_id_option 'gnulinux-6.1.0-50-amd64-advanced-7f' {
		linux	/vmlinuz-6.1.0-50-amd64 root=UUID=7f ro
	}
}
menuentry 'UEFI' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"""


@pytest.mark.parametrize(
    ("release", "entry"),
    [
        ("6.1.192-herd", "gnulinux-advanced-7f>gnulinux-6.1.192-herd-advanced-7f"),
        ("6.1.0-50-amd64", "gnulinux-advanced-7f>gnulinux-6.1.0-50-amd64-advanced-7f"),
        ("6.1.192", ""),
        ("6.1.0-50", ""),
    ],
)
def test_an_entry_of_the_boot_menu_is_found_by_the_kernels_release(release: str, entry: str) -> None:
    assert build.boot_entry(MENU, release) == entry
    without_submenu = "\n".join(
        line for line in MENU.replace("\n\t}\n}\n", "\n\t}\n").splitlines() if not line.startswith("submenu")
    )
    assert build.boot_entry(without_submenu, release) == entry.rpartition(">")[2]


def test_the_menus_first_entry_is_the_newest_kernel() -> None:
    assert build.boot_top(MENU) == "6.1.192-herd"
    assert build.boot_top("") == ""


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
    shared = memcached.plan(3, 11211, "0-6,8-14", ["0-7", "8-15"], 0, 16, True)
    assert [server["port"] for server in shared] == [11211, 11212, 11213]
    assert {(server["cores"], server["node"], server["threads"]) for server in shared} == {
        ("0 1 2 3 4 5 6 8 9 10 11 12 13 14", None, 14)
    }


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


NODE_TOOL = "common/files/mustherd_node"


def test_a_tool_s_modules_are_one_file_that_an_old_python_reads() -> None:
    text = program(NODE_TOOL)
    assert text == program(NODE_TOOL)
    assert text.startswith('#!/usr/bin/python3\n"""')
    tree = ast.parse(text, feature_version=(3, 8))
    assert "from ." not in text
    assert [type(node) for node in tree.body[:2]] == [ast.Expr, ast.ImportFrom]
    # Nothing of any module is lost, and what is defined in one of them means the same in all.
    modules = [ast.parse(path.read_text()) for path in (ROLES / NODE_TOOL).glob("*.py")]
    assert len(modules) > 5
    defined = Counter(name for module in modules for name in names_of(module))
    assert not [name for name, times in defined.items() if times > 1]
    assert Counter(names_of(tree)) == defined


def names_of(module: ast.Module) -> list[str]:
    """What a module defines at its top, without what it imports."""
    found = [node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assigned = [node.targets[0] for node in module.body if isinstance(node, ast.Assign)]
    return found + [target.id for target in assigned if isinstance(target, ast.Name)]


def test_each_module_stands_behind_those_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        '"""Doc."""\n\nfrom __future__ import annotations\n\nfrom .b import (\n    two,\n)\nprint(two())\n'
    )
    (tmp_path / "b.py").write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom .a import one\n"
        "if TYPE_CHECKING:\n    from .a import One\n\n\ndef two() -> One:\n    return one()\n\n\nSHIFT = one()\n"
    )
    (tmp_path / "a.py").write_text("def one() -> int:\n    return 1\n")
    text = load("common/filter_plugins/mustherd_program.py").program(str(tmp_path))
    assert text.index("def one") < text.index("def two") < text.index("print(")
    names: dict[str, object] = {"print": str}
    exec(compile(text, "one file", "exec"), names)  # noqa: S102
    assert names["SHIFT"] == 1
