"""Each check of scripts/lint finds what it is there to find, and nothing in good code."""
import importlib.machinery
import importlib.util
import os
import shutil

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = "/* role */\n"


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(ROOT, "scripts", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


lint = load("lint")


@pytest.fixture
def tree(tmp_path):
    """write(path, text) in a small tree with the floors of the real one."""
    shutil.copy(os.path.join(ROOT, "meson.build"), tmp_path / "meson.build")
    shutil.copy(os.path.join(ROOT, ".clang-format"), tmp_path / ".clang-format")

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return str(tmp_path)
    write("tests/fuzz/meson.build", "fuzz_targets = {\n}\n")
    write("src/wire/field.h", HEAD + "#pragma once\n")
    return write


@pytest.mark.parametrize("path, include, is_good", [
    ("src/http/a.c", "base/str.h", True),
    ("src/http/a.c", "http/b.h", True),
    ("src/http/a.c", "event/loop.h", False),  # the same floor
    ("src/http/a.c", "proxy/proxy.h", False), # above
    ("src/base/a.c", "os/spawn.h", False),
    ("src/cli/a.c", "controller/c.h", False),
    ("src/cli/a.c", "document/json_write.h", True),
    ("src/http/a.c", "b.h", False),           # no folder
    ("src/http/a.c", "wire/field_priv.h", False),
    ("src/http/a.c", "http/b_priv.h", True),
    ("src/http/a.c", "nowhere/b.h", False),
    ("src/main_x.c", "cli/args.h", True),
])
def test_floors(tree, path, include, is_good):
    root = tree(path, HEAD + f'#include "{include}"\n')
    assert (lint.check_floors(root) == []) is is_good


@pytest.mark.parametrize("path, text, is_good", [
    ("src/http/a.c", "void f(void) { strcpy(a, b); }", False),
    ("src/http/a.c", "void f(void) { memcpy(a, b, 1); }", False),
    ("src/base/a.c", "void f(void) { memcpy(a, b, 1); }", True),
    ("src/base/a.c", "void f(void) { malloc(1); }", False),
    ("src/base/mem.c", "void f(void) { malloc(1); free(p); }", True),
    ("src/http/a.c", "void f(void) { x->free(p); mem_free(p); must(1); }", True),
    ("src/http/a.c", "/* strcpy( is banned */ const char *s = \"strcpy(\";", True),
    ("src/http/a.c", "void f(void) { printf(\"x\"); }", False),
    ("src/cli/a.c", "void f(void) { printf(\"x\"); }", True),
    ("src/http/a.c", "void f(void) { (void)snprintf(p, 1, \"x\"); }", True),
    ("src/http/a.c", "void f(void) { assert (x); }", False),
])
def test_banned(tree, path, text, is_good):
    assert (lint.check_banned(tree(path, HEAD + text)) == []) is is_good


@pytest.mark.parametrize("text, is_good", [
    (HEAD + "int x; // why\n", False),
    (HEAD + "const char *s = \"http://a\";\n", True),
    (HEAD + "/* see http://a */\n", True),
    ("int x;\n", False),
])
def test_comments(tree, text, is_good):
    assert (lint.check_comments(tree("src/http/a.c", text)) == []) is is_good


def test_a_codec_needs_a_fuzz_target_with_seeds(tree):
    root = tree("src/wire/thing.h", HEAD)
    assert any("fuzz_thing.c" in f.text for f in lint.check_fuzzed(root))
    tree("tests/fuzz/fuzz_thing.c", "")
    assert len(lint.check_fuzzed(root)) == 2 # not listed, no seeds
    tree("tests/fuzz/meson.build", "fuzz_targets = {\n  'thing': ['wire', 'base'],\n}\n")
    tree("tests/fuzz/corpus/thing/one", "x")
    assert lint.check_fuzzed(root) == []


@pytest.mark.parametrize("path, reason, is_good", [
    ("src/compile/a.c", "AnnotationConflict", False),
    ("src/compile/a.c", "ClassConflict", True),
    ("src/compile/a.c", "InvalidHost", True),
    ("src/compile/judge.c", "PathConflict", True),
])
def test_a_conflict_stands_in_the_list(tree, path, reason, is_good):
    root = tree(path, HEAD + f"static const struct finding f = {{DIAG_ERROR, DIAG_{reason}}};\n")
    assert (lint.check_conflicts(root) == []) is is_good


def test_a_filter_needs_its_files(tree):
    tree("src/snapshot/filters.h", "struct snap_filter_x {\n};\n")
    root = tree("src/snapshot/filters.def",
                "/* FILTER(name, number, halves) */\nFILTER(x, 1, BOTH)\n")
    assert len(lint.check_filters(root)) == 4
    for path in ("src/compile/filter_x.c", "src/filter/x.c", "docs/filters/x.md",
                 "tests/system/test_filter_x.py"):
        tree(path, "")
    assert lint.check_filters(root) == []


def test_filters_stand_in_order_and_have_halves(tree):
    tree("src/snapshot/filters.h", "struct snap_filter_x {\n};\n")
    for path in ("src/compile/filter_x.c", "src/filter/x.c", "docs/filters/x.md",
                 "tests/system/test_filter_x.py"):
        tree(path, "")
    root = tree("src/snapshot/filters.def", "FILTER(x, 1, REQUEST)\nFILTER(x, 2, RESPONSE)\n")
    assert lint.check_filters(root) == []
    tree("src/snapshot/filters.def", "FILTER(x, 2, REQUEST)\nFILTER(x, 2, REQUEST)\n")
    assert len(lint.check_filters(root)) == 1
    tree("src/snapshot/filters.def", "FILTER(x, 1, NEITHER)\n")
    assert len(lint.check_filters(root)) == 1


def test_headers_stand_alone(tree):
    root = tree("src/http/a.h", HEAD + "#pragma once\nuint32_t f(void);\n")
    assert len(lint.check_headers(root)) == 1
    tree("src/http/a.h", HEAD + "#pragma once\n#include <stdint.h>\nuint32_t f(void);\n")
    assert lint.check_headers(root) == []


def test_format(tree):
    root = tree("src/http/a.c", HEAD + "int  x ;\n")
    assert [f.path for f in lint.check_format(root)] == ["src/http/a.c"]
    tree("src/http/a.c", HEAD + "int x;\n")
    assert lint.check_format(root) == []


def test_the_floors_of_the_real_tree_are_read():
    floors = lint.read_floors(ROOT)
    assert floors["base"] == 0 and floors["wire"] == floors["os"] == floors["snapshot"] == 1
    assert floors["cli"] == floors["worker"] == 5
