# SPDX-License-Identifier: BSD-2-Clause
"""What users read keeps the rules of tests/messages/list, and the list misses none of it."""

import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys

from harness import check, check_equal

LIST = pathlib.Path(__file__).resolve().parent / "list"
LOADER = importlib.machinery.SourceFileLoader("messages_list", str(LIST))
SPEC = importlib.util.spec_from_loader("messages_list", LOADER)
messages = importlib.util.module_from_spec(SPEC)
sys.modules["messages_list"] = messages
SPEC.loader.exec_module(messages)

HOUSE = messages.House(commands=frozenset(["restart", "status"]), options=frozenset(["force"]))


def texts_of(source, file="orchestrator/steer/a.c"):
    return [text for text in messages.Reader(file, source).texts if messages.classify(text)]


def list_program(*args):
    return subprocess.run([sys.executable, "-B", str(LIST), *args], text=True, capture_output=True,
                          check=False)


# ---- the product -------------------------------------------------------------------------------

def test_messages_all_keep_the_rules(_t):
    done = list_program("--check")
    check_equal((done.returncode, done.stderr), (0, ""), "what breaks a rule")


def test_messages_list_has_known_ones_of_each_kind(_t):
    listed = list_program().stdout
    for kind, text in (
            ("error", r'unknown key (did you mean \"%s\"?)'),
            ("refusal", "generation %u is running already"),
            ("reason", "generation %u was not healthy within %s"),
            ("event", "instance %u has lost its agent (pid %d)"),
            ("log", "stopping: every service drains"),
            ("command line", "undo the rollout that is under way"),
            ("doctor", "what this user may do"),
            ("words", "is not a regular file")):
        section = listed.split(f"---- {kind}: ")[1].split("\n---- ")[0]
        check(text in section, f"{text!r} is not listed as {kind}")


def test_messages_list_has_every_call_with_a_literal(_t):
    # Counted in another way: by the text behind the call, comments left out.
    for name, at in (("error_text", 2), ("error_set", 2), ("log_warning", 0), ("log_error", 0)):
        call = re.compile(rf"\b{name}\((?:[^,;\"]*,){{{at}}}\s*(?:\w+\s*)?\"")
        wanted = found = 0
        for file, source in messages.sources(messages.ROOT):
            if file in ("common/error.h", "common/log.h"):
                continue
            wanted += len(call.findall(re.sub(r"/\*.*?\*/", "", source, flags=re.S)))
            found += sum(text.call == name and not text.part for text in texts_of(source, file))
        check(found >= wanted > 10, f"{name}: {found} of {wanted} calls are listed")


def test_messages_list_prints_one_kind_alone(_t):
    listed = list_program("doctor").stdout
    check(listed.startswith("---- doctor: ") and listed.count("----") == 1, listed[:200])


# ---- finding texts -----------------------------------------------------------------------------

def test_messages_literals_side_by_side_are_one_text(_t):
    text, = texts_of('x = error_set(err, -r, "read %" PRIu64 " bytes "\n\t\t"of " PLACE);')
    check_equal((text.line, text.kind, text.text), (1, "error", "read %d bytes of {PLACE}"), "text")


def test_messages_later_arguments_are_parts(_t):
    whole, part = texts_of('log_error("%s is%s", strchr(a, "x"), b ? " late" : "");')
    check_equal((whole.kind, whole.part), ("log", False), "whole")
    check_equal((part.kind, part.part, part.text), ("log", True, " late"), "part")


def test_messages_what_is_not_shown_is_no_text(_t):
    check_equal(texts_of('/* "a comment of words" */ if (strcmp(a, "some words here") == 0)\n'
                         '\tx = json_pack("{s:s}", "two words", b); // "and more"\n'), [], "texts")


def test_messages_tables_and_answers_are_texts(_t):
    source = 'static const char *const a[] = {"nothing serves"};\nreturn "out of the table";'
    check_equal([text.kind for text in texts_of(source)], ["words", "words"], "kinds")
    check_equal([text.kind for text in texts_of(source, "cli/a.c")], ["command line"] * 2, "in cli/")
    check_equal([text.kind for text in texts_of(source, "orchestrator/doctor/a.c")],
                ["doctor", "doctor"], "in doctor/")


def test_messages_error_of_a_refusal_is_a_refusal(_t):
    text, = texts_of('error_text(&call->refusal->why, -EBUSY, "it is busy");')
    check_equal(text.kind, "refusal", "kind")


def test_messages_format_function_that_is_not_in_a_table_is_found(_t):
    files = [("a.h", "\nvoid shout(const char *format, ...) __attribute__((format(printf, 1, 2)));\n"
                     "static void __attribute__((format(printf, 2, 3))) moan(int a, ...);\n")]
    found = list(messages.overlooked(files, []))
    check("a.h:2: shout() takes a format: put it into SINKS or QUIET" in found, found)
    check("a.h:3: moan() takes a format: put it into SINKS or QUIET" in found, found)
    check("tests/messages/list: SINKS has error_text(), which says nothing any more" in found, found)


# ---- rules -------------------------------------------------------------------------------------

def broken(source, file="orchestrator/steer/a.c"):
    """The names of the rules that a text breaks."""
    return [rule.__name__.removeprefix("rule_") for text in texts_of(source, file)
            for rule in messages.RULES if rule(text, HOUSE)]


BAD = (
    ('error_text(err, r, "it is late.");', "full_stop"),
    ('log_info("it is late\\n");', "one_line"),
    ('error_text(err, r, "it  is late");', "blanks"),
    ('error_text(err, r, "it is late ");', "blanks"),
    ('run_set_reason(run, "It is late");', "small_letter"),
    ('error_text(err, r, "%s: EINVAL", a);', "errno"),
    ('log_error("bind: errno %d", errno);', "errno"),
    ('error_text(err, r, "invalid path");', "plain"),
    ('error_text(err, r, "failed");', "plain"),
    ('error_text(err, r, "unable to read %s", a);', "plain"),
    ('error_text(err, r, "it can\'t be read");', "plain"),
    ('error_set(err, r, "fork");', "object"),
    ('error_set(err, r, "open");', "object"),
    ('error_set(err, r, "read the file");', "object"),
    ('log_info("in %ums", n);', "unit"),
    ('error_text(err, r, "' + "a word " * 13 + 'or so");', "short"),
    ('error_text(err, r, "baton restart tries again");', "command"),
    ('error_text(err, r, "\\"baton retry\\" tries again");', "command"),
    ('error_text(err, r, "--forced is not given");', "option"),
)
GOOD = (
    'log_info("waiting ...");',
    'error_text(err, r, "Linux 5.14 or later is needed (EPERM)");',
    'error_text(err, r, "since: neither a number nor EPOCH:SEQ");',
    'error_set(err, r, "read %s", path);',
    'error_set(err, r, "bind");',
    'log_info("in %u ms, with 1%%");',
    'log_info("%s", late ? " and late" : "");',
    'error_text(err, r, "' + "a word; " * 30 + 'or so");',
    'error_text(err, r, "\\"baton restart %s\\" tries again; see \\"baton status\\"");',
    'error_text(err, r, "mend it, then: baton restart");',
    'error_text(err, r, "--force is not given (docker: --cap-add)");',
)


def test_messages_each_rule_finds_what_breaks_it(_t):
    for source, rule in BAD:
        check_equal(broken(source), [rule], source)
    check_equal({rule for _, rule in BAD},
                {rule.__name__.removeprefix("rule_") for rule in messages.RULES}, "rules tried")


def test_messages_good_ones_break_no_rule(_t):
    for source in GOOD:
        check_equal(broken(source), [], source)


def test_messages_errors_of_the_command_line_may_have_an_example(_t):
    check_equal(broken('error_text(err, r, "no address, for example\\n    a:1");', "cli/a.c"), [],
                "example")
    check_equal(broken('error_text(err, r, "no address\\n");', "cli/a.c"), ["one_line"], "end")


def test_messages_commands_and_options_are_read_from_the_sources(_t):
    house = messages.look_around(list(messages.sources(messages.ROOT)))
    check({"restart", "status", "reload", "scale"} <= house.commands, house.commands)
    check({"supersede", "drain-signal", "doctor"} <= house.options, house.options)
