# SPDX-License-Identifier: BSD-2-Clause
"""tests/layout/check finds each kind of violation: small trees are made up, built and looked at."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys

from harness import check, check_equal

CHECK = pathlib.Path(__file__).resolve().parent / "check"
LOADER = importlib.machinery.SourceFileLoader("layout_check", str(CHECK))
SPEC = importlib.util.spec_from_loader("layout_check", LOADER)
layout = importlib.util.module_from_spec(SPEC)
sys.modules["layout_check"] = layout
SPEC.loader.exec_module(layout)

RULES = layout.Rules(
    floors=("top", "left right", "base"),
    beside={"tool": frozenset(["base"]), "kernel": frozenset()},
    users={"tool": frozenset(["top/main"]), "kernel": frozenset(["left"])},
    public={"left": frozenset(["left.h"]), "right": frozenset(["right.h"]),
            "base": frozenset(["*"]), "kernel": frozenset(["*"]), "tool": frozenset(["tool.h"])},
    manuals=frozenset(["right/right.h"]),
    pure_headers=frozenset(["string.h"]))

HOUSE = {
    "top/main.c": '#include "left/left.h"\n#include "right/right.h"\n#include "tool/tool.h"\n'
                  "int main(void)\n{\n\treturn left() + right() + tool();\n}\n",
    "left/left.h": '#include "kernel/map.h"\nint left(void);\n',
    "left/left.c": '#include "left/left.h"\n#include "base/sum.h"\nint left(void)\n'
                   "{\n\treturn sum(1);\n}\n",
    "right/right.h": "int right(void);\n",
    "right/right.c": '#include "right/right.h"\n#include "left/left.h"\n'
                     "int right(void)\n{\n\treturn left();\n}\n",
    "base/sum.h": "int sum(int);\n",
    "base/sum.c": '#include "base/sum.h"\nint sum(int a)\n{\n\treturn a + 1;\n}\n',
    "kernel/map.h": "struct map;\n",
    "tool/tool.h": "int tool(void);\n",
    "tool/tool.c": '#include "tool/tool.h"\n#include "base/sum.h"\n'
                   "int tool(void)\n{\n\treturn sum(2);\n}\n",
}


def errors_of(t, changes=None, known="", pure=()):
    """What the check says about the house with some files changed; it is built first."""
    root = t.tmp / "house"
    for path, text in {**HOUSE, **(changes or {}), layout.KNOWN: known}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for source in root.rglob("*.c"):
        made = root / "build" / "obj" / source.relative_to(root).with_suffix(".o")
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-w", "-I.", "-c", "-o", str(made), str(source)], cwd=root, check=True)
    house = layout.House(root, "build", RULES)
    return layout.Check(house, RULES, layout.Known(root), pure).run()


def expect(errors, *parts):
    """One error for each of the parts, that contains it."""
    check_equal(len(errors), len(parts), f"number of errors in {errors}")
    for part in parts:
        check(any(part in error for error in errors), f"no {part!r} in {errors}")


def test_layout_house_in_order_passes(t):
    expect(errors_of(t, pure=["base/sum"]))


def test_layout_include_that_goes_up_is_found(t):
    expect(errors_of(t, {"base/sum.h": 'struct sum;\n#include "right/right.h"\nint sum(int);\n'}),
           "base/sum.h:2: includes right/right.h, but right/ is a floor above base/",
           "a ring of folders: base left right",
           "a ring of modules: base/sum left/left right/right")


def test_layout_symbol_that_goes_up_is_found(t):
    text = 'int right(void);\n#include "base/sum.h"\nint sum(int a)\n{\n\treturn a;\n}\n' \
           "int more(void)\n{\n\treturn right();\n}\n"
    errors = errors_of(t, {"base/sum.c": text})
    check(any("uses right() of right/right.c, but right/ is a floor above base/" in error
              for error in errors), errors)


def test_layout_ring_of_folders_is_found(t):
    # No module is in a ring: two other ones of the same folders use each other.
    expect(errors_of(t, {"left/other.c": '#include "right/right.h"\n'}),
           "left/other.c:1: a ring of folders: left right; cut one of\n"
           "    left/other.c:1: includes right/right.h\n"
           "    right/right.c:2: includes left/left.h")


def test_layout_ring_of_files_by_includes_is_found(t):
    expect(errors_of(t, {"base/a.h": '#include "base/b.h"\n', "base/b.c": '#include "base/c.h"\n',
                         "base/b.h": "", "base/c.h": '#include "base/a.h"\n'}),
           "a ring of modules: base/a base/b base/c; cut one of\n"
           "    base/a.h:1: includes base/b.h\n"
           "    base/b.c:1: includes base/c.h\n"
           "    base/c.h:1: includes base/a.h")


def test_layout_ring_of_files_by_symbols_is_found(t):
    expect(errors_of(t, {"base/a.c": "int b(void);\nint a(void)\n{\n\treturn b();\n}\n",
                         "base/b.c": "int a(void);\nint b(void)\n{\n\treturn a();\n}\n"}),
           "a ring of modules: base/a base/b; cut one of\n"
           "    base/a.c:1: uses b() of base/b.c\n"
           "    base/b.c:1: uses a() of base/a.c")


PARTS = {
    "base/big.h": "int big(void);\n",
    "base/big_internal.h": '#include "base/big.h"\nint big_part(void);\nint big_help(void);\n',
    "base/big.c": '#include "base/big_internal.h"\nint big(void)\n{\n\treturn big_part();\n}\n',
    "base/big_part.c": '#include "base/big_internal.h"\nint big_part(void)\n{\n\treturn 1;\n}\n',
}


def test_layout_parts_of_one_module_may_share_its_headers(t):
    expect(errors_of(t, PARTS))


MANUAL = {
    "right/right.h": '#include "right/part.h"\nstruct right { struct part part; };\nint right(void);\n',
    "right/part.h": "struct part { int n; };\nstruct right;\nint part(struct right *);\n",
    "right/part.c": '#include "right/right.h"\nint part(struct right *r)\n{\n\treturn r->part.n;\n}\n',
}


def test_layout_manual_may_include_its_parts(t):
    expect(errors_of(t, MANUAL))


def test_layout_header_that_is_no_manual_may_not_include_its_parts(t):
    swap = {path.replace("right", "left"): text.replace("right", "left")
            for path, text in MANUAL.items()}
    expect(errors_of(t, swap), "a ring of modules: left/left left/part")


def test_layout_parts_of_one_module_may_not_call_each_other_in_a_ring(t):
    part = '#include "base/big_internal.h"\nint big_part(void)\n{\n\treturn big();\n}\n'
    expect(errors_of(t, {**PARTS, "base/big_part.c": part}),
           "a ring of modules: base/big base/big_part; cut one of\n"
           "    base/big.c:4: uses big_part() of base/big_part.c\n"
           "    base/big_part.c:4: uses big() of base/big.c")


def test_layout_private_header_of_another_folder_is_found(t):
    expect(errors_of(t, {"left/own.h": "", "right/right.c": '#include "left/own.h"\n'
                         '#include "left/left.h"\nint right(void)\n{\n\treturn left();\n}\n'}),
           "right/right.c:1: left/own.h is not for other folders; include a public header of left/ "
           "(left.h)")


def test_layout_internal_header_is_never_public(t):
    left = '#include "base/big_internal.h"\nint left(void)\n{\n\treturn 1;\n}\n'
    expect(errors_of(t, {**PARTS, "left/left.c": left}),
           "left/left.c:1: base/big_internal.h is not for other folders")


def test_layout_public_header_that_nobody_includes_is_found(t):
    main = '#include "left/left.h"\n#include "right/right.h"\nint main(void)\n{\n' \
           "\treturn left() + right();\n}\n"
    expect(errors_of(t, {"top/main.c": main}),
           "tool/tool.h:1: public, but no other folder includes it")


def test_layout_folder_beside_is_for_its_users_only(t):
    expect(errors_of(t, {"right/more.c": '#include "tool/tool.h"\n',
                         "right/map.c": '#include "kernel/map.h"\n'}),
           "right/more.c:1: includes tool/tool.h, but tool/ is for top/main",
           "right/map.c:1: includes kernel/map.h, but kernel/ is for left")


def test_layout_folder_beside_uses_only_what_it_may(t):
    expect(errors_of(t, {"tool/more.c": '#include "right/right.h"\n'}),
           "tool/more.c:1: includes right/right.h, but tool/ may only use base")


def test_layout_include_not_from_the_root_is_found(t):
    expect(errors_of(t, {"base/more.c": '#include "sum.h"\n'}),
           'base/more.c:1: there is no "sum.h"; write the path of the header from the root')


def test_layout_source_without_object_is_found(t):
    errors_of(t)
    (t.tmp / "house/base/late.c").write_text("int late;\n")
    house = layout.House(t.tmp / "house", "build", RULES)
    expect(house.errors, "base/late.c:1: build/obj/base/late.o is missing; run make first")


def test_layout_impure_include_is_found(t):
    text = '#include "base/sum.h"\n#include <string.h>\n#include <time.h>\nint sum(int a)\n' \
           "{\n\treturn a;\n}\n"
    expect(errors_of(t, {"base/sum.c": text}, pure=["base/sum"]),
           "base/sum.c:3: includes time.h, but base/sum is in the Makefile's PURE")


def test_layout_impure_call_is_found(t):
    text = '#include "base/sum.h"\nint sum(int a)\n{\n\tchar *getenv(const char *);\n' \
           '\treturn strlen(getenv("a"));\n}\n'
    expect(errors_of(t, {"base/sum.c": text}, pure=["base/sum"]),
           "base/sum.c:4: calls getenv(), but base/sum is in the Makefile's PURE")


def test_layout_pure_module_that_calls_another_one_is_found(t):
    expect(errors_of(t, pure=["right/right"]), "right/right.c:2: includes left/left.h",
           "right/right.c:5: calls left()")


def test_layout_pure_module_that_is_gone_is_found(t):
    expect(errors_of(t, pure=["base/gone"]), "Makefile:1: PURE has base/gone, which is not there")


def test_layout_known_violations_are_tolerated(t):
    expect(errors_of(t, {"base/sum.h": 'struct sum;\n#include "right/right.h"\nint sum(int);\n',
                         "left/own.h": "", "right/own.c": '#include "left/own.h"\n',
                         "base/now.c": "int now(void)\n{\n\treturn time(0);\n}\n"},
                     "# a comment\n\n"
                     "up base/sum -> right/right  # why\n"
                     "folders left right base  # why\n"
                     "ring base/sum left/left right/right  # why\n"
                     "include right/own.c -> left/own.h  # why\n"
                     "pure base/now -> time  # why\n", pure=["base/now"]))


def test_layout_known_violation_that_is_gone_is_found(t):
    expect(errors_of(t, known="\nup base/sum -> right/right  # why\nring base/a base/b  # why\n"),
           "tests/layout/known:2: base/sum -> right/right: no longer there; remove this line",
           "tests/layout/known:3: base/a base/b: no longer there; remove this line")


RING = {"base/a.h": '#include "base/b.h"\n', "base/b.h": '#include "base/a.h"\n', "base/c.h": ""}


def test_layout_known_ring_that_has_become_smaller_is_found(t):
    expect(errors_of(t, RING, "ring base/a base/b base/c  # why\n"),
           "tests/layout/known:1: base/c: no longer in this ring; take out of this line")


def test_layout_known_ring_that_has_grown_is_found(t):
    expect(errors_of(t, {**RING, "base/b.h": '#include "base/a.h"\n#include "base/c.h"\n',
                         "base/c.h": '#include "base/b.h"\n'}, "ring base/a base/b  # why\n"),
           "a ring of modules: base/a base/b base/c",
           "tests/layout/known:1: base/a base/b: no longer there; remove this line")


def test_layout_known_violation_needs_a_reason(t):
    expect(errors_of(t, RING, "ring base/a base/b\nsmell base/a  # why\n"),
           "a ring of modules: base/a base/b",
           'tests/layout/known:1: say why: "ring base/a base/b  # REASON"',
           "tests/layout/known:2: not one of up, ring, folders, include, pure")


def test_layout_program_says_what_is_wrong_and_fails(t):
    (t.tmp / "agent").mkdir()
    (t.tmp / "agent/one.c").write_text('#include "two.h"\n')
    done = subprocess.run([sys.executable, "-B", str(CHECK), "build", "--root", str(t.tmp)],
                          text=True, capture_output=True, check=False)
    check_equal(done.returncode, 1, "exit status")
    check('agent/one.c:1: there is no "two.h"' in done.stderr, done.stderr)
    check_equal(done.stderr.splitlines()[-1], f"layout: {done.stderr.count(chr(10)) - 1} errors",
                "last line")
