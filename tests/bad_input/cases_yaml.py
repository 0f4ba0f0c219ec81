"""Files that are no YAML, no mapping, or no experiment."""

from tests.bad_input.case import Case

KKT = "kkt:\n  problem: {labels: red_blue, kind: binary, images_per_class: 3}\n  victim: {network: {hidden: [4]}}\n"
STATUS = "jobs status HERE/e.yml RUNS"
BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 9)}]\n" for n in range(1, 9))
LINKS = {"e.yml": "extends: n0.yml\n"} | {f"n{n}.yml": f"extends: n{n + 1}.yml\n" for n in range(3000)}
DOUBLING = {"e.yml": "extends: [d0.yml, d0.yml]\n", "d12.yml": KKT} | {
    f"d{n}.yml": f"extends: [d{n + 1}.yml, d{n + 1}.yml]\nseed: 1\n" for n in range(12)
}


def said(wrong: str, content: str | bytes, line: str, code: int = 2) -> Case:
    return Case(wrong, STATUS, code, line, {"e.yml": content})


NO_FLOAT = "is no valid float"

CASES = [
    said("empty file", "", r"e\.yml: is empty"),
    said("nothing but a comment", "# nothing\n", r"e\.yml: is empty"),
    said("null", "null\n", r"e\.yml: is empty"),
    said("two dashes of a document", "---\n", r"e\.yml: is empty"),
    said("an empty mapping", "{}\n", r"e\.yml: is empty"),
    said("list at the top", "- 1\n", "should be a mapping of keys, not a list"),
    said("number at the top", "5\n", "should be a mapping of keys, not a int"),
    said("text at the top", "hello\n", "should be a mapping of keys, not a str"),
    said("a date at the top", "2024-01-01\n", "should be a mapping of keys, not a date"),
    said("two documents", "a: 1\n---\nb: 2\n", "cannot be read as YAML: expected a single document"),
    said("random bytes", bytes(range(128, 256)), "cannot be read as YAML: 'utf-8' codec"),
    said("invalid UTF-8", b"name: \xff\n", "cannot be read as YAML: 'utf-8' codec"),
    said("UTF-16", "name: x\n".encode("utf-16"), "cannot be read as YAML"),
    said("NUL", "name: a\0b\n", "cannot be read as YAML: unacceptable character"),
    said("escape character", "name: \x1b[31m\n", "cannot be read as YAML: unacceptable character"),
    said("tabs", "kkt:\n\tproblem: 1\n", r"cannot be read as YAML: .*'\\t'"),
    said("unclosed brace", "kkt: {a: 1\n", "cannot be read as YAML"),
    said("unclosed quote", "name: 'x\n", "cannot be read as YAML"),
    said("unknown anchor", "name: *x\n", "cannot be read as YAML: found undefined alias 'x'"),
    said("unknown tag", "name: !foo 1\n", "could not determine a constructor for the tag '!foo'"),
    said("a Python object", f"seed: !!python/object/apply:os.system [id]\n{KKT}", "could not determine a constructor"),
    said("a Python name", f"seed: !!python/name:os.system\n{KKT}", "could not determine a constructor"),
    said("a megabyte of keys", "# long\n" * 200_000, r"has 1,400,000 bytes, and 1,048,576 are allowed"),
    said("3000 nested lists", f"seed: {'[' * 3000}{']' * 3000}\n", "nested more than 30 levels deep"),
    said("900 nested mappings", "seed: " + "{a: " * 900 + "1" + "}" * 900, "nested more than 30 levels deep"),
    said("alias bomb under unknown keys", BOMB, "aliases stand for more than 100,000 values"),
    said("alias bomb as a value", f"{BOMB}seed: *a8\n", "aliases stand for more than 100,000 values"),
    said("bomb of merged mappings", MERGES, "aliases stand for more than 100,000 values"),
    said("an alias inside itself", f"{KKT}paths: &x {{runs: *x}}\n", "aliases stand for more than 100,000 values"),
    said("a list inside itself", f"{KKT}imported: &x [*x]\n", "aliases stand for more than 100,000 values"),
    said("a key twice", f"seed: 1\nseed: 2\n{KKT}", r"the key seed is there twice .*line 2"),
    said("a nested key twice", f"{KKT}paths: {{runs: a, runs: b}}\n", "the key runs is there twice"),
    said("a part twice", f"{KKT}{KKT}", "the key kkt is there twice"),
    said("the same key quoted", f"seed: 1\n'seed': 2\n{KKT}", "the key seed is there twice"),
    said("a key twice in a grid", f"{KKT}grid: {{seed: [1], seed: [2]}}\n", "the key seed is there twice"),
    said("integer key", f"{KKT}1: 2\n", "1 Keys should be strings, not 1"),
    said("null key", f"{KKT}null: 2\n", "None Keys should be strings, not None"),
    said("boolean key", f"{KKT}yes: 2\n", "Keys should be strings, not True"),
    said("a list as key", f"{KKT}? [1, 2]\n: 3\n", "cannot be read as YAML: while constructing a mapping"),
    said("a mapping as key", f"{KKT}? {{a: 1}}\n: 3\n", "cannot be read as YAML: while constructing a mapping"),
    said("integer key in resources", f"{KKT}resources: {{1: {{}}}}\n", "resources.1.*should be a valid string"),
    *(
        said(f"seed: {value}", f"{KKT}seed: {value}\n", f"cannot be read as YAML: '{value}' is no valid {kind}")
        for value, kind in [
            ("2024-13-45", "timestamp"),
            ("2024-02-30", "timestamp"),
            ("2024-01-01 25:00:00", "timestamp"),
            ("0000-01-01", "timestamp"),
            ("0x_", "int"),
            ("0b_", "int"),
            ("9" * 5000, "int"),
            ("0x" + "f" * 100, "int"),
        ]
    ),
    *(
        said(f"seed: {tag} {value}", f"{KKT}seed: {tag} {value}\n", f"'{value}' is no valid {tag[2:]}")
        for tag, value in [
            ("!!int", "abc"),
            ("!!int", "1.5"),
            ("!!float", "abc"),
            ("!!bool", "maybe"),
            ("!!timestamp", "abc"),
            ("!!timestamp", "2024-13-45"),
        ]
    ),
    said("!!binary that is none", f"{KKT}seed: !!binary ä\n", "cannot be read as YAML"),
    said("!!set", f"{KKT}seed: !!set {{a}}\n", "seed should be a valid integer"),
    said("!!omap", f"{KKT}seed: !!omap [a: 1]\n", "seed should be a valid integer"),
    said("!!omap that is none", f"{KKT}seed: !!omap 5\n", "cannot be read as YAML"),
    said("!!null with text", f"{KKT}seed: !!null x\n", "seed should be a valid integer, not None"),
    said("a date", f"{KKT}seed: 2024-01-01\n", "seed should be a valid integer, not datetime.date"),
    said("a boolean", f"{KKT}seed: yes\n", "seed should be a valid integer, not True"),
    said("a float", f"{KKT}seed: 1.0\n", "seed should be a valid integer, not 1.0"),
    said("not a number", f"{KKT}seed: .nan\n", "seed should be a valid integer, not nan"),
    said("text of 10,000", f"{KKT}seed: {'x' * 10_000}\n", "seed should be a valid integer, not 'x{150,200}…"),
    said("the key source", f"{KKT}source: x\n", "the key source is set by the program; remove it"),
    said("the key overrides", f"{KKT}overrides: []\n", "the key overrides is set by the program; remove it"),
    said("nothing to do", "seed: 3\n", "asks for nothing: it has none of the parts data, backbone"),
    said("a part that is null", "kkt:\n", "asks for nothing"),
    said("a part that is text", "kkt: x\n", "kkt should be a valid dictionary or instance of Kkt, not 'x'"),
    said("a part that is a list", "kkt: [1]\n", r"kkt should be a valid dictionary or instance of Kkt, not \[1\]"),
    said("a part that is empty", "kkt: {}\n", "kkt.problem is missing"),
    said("a misspelt part", f"kktt: {{}}\n{KKT}", "unknown key kktt; did you mean kkt"),
    said("markup in a key", f"{KKT}'[/red]': 1\n", r"unknown key \[/red\]"),
    *(
        said(f"name {name!r}", f"name: {name!r}\n{KKT}", "name String should match pattern")
        for name in ("../../x", "a/b", "..", ".hidden", "-x", "<script>alert(1)</script>", "größe", "", "a b", "[/x]")
    ),
    said("name with a line break", f'name: "abc\\n"\n{KKT}', "name String should match pattern"),
    said("name that is a number", f"name: 5\n{KKT}", "name should be a valid string, not 5"),
    *(
        said(f"point {point!r}", f"point: {point!r}\n{KKT}", "point String should match pattern")
        for point in ("..", "../../x", "a/b", ".x", "", "a b", "[/x]", "/etc")
    ),
    # ------------------------------------------------------------------------------------------- extends
    *(
        said(f"extends: {value}", f"extends: {value}\n{KKT}", "extends should be the name of a file or a list of names")
        for value in ("null", "5", "[5]", "{a: b}", "true", "''", "[null]", "[e.yml, 5]", "1.5", "2024-01-01")
    ),
    said("extends itself", f"extends: e.yml\n{KKT}", "extends itself through e.yml"),
    Case(
        "a cycle of two",
        STATUS,
        2,
        "extends itself through e.yml → f.yml",
        {"e.yml": "extends: f.yml\n", "f.yml": "extends: e.yml\n"},
    ),
    Case("3000 files in a chain", STATUS, 2, "more than 20 files that extend one another", LINKS),
    Case("doubling", STATUS, 2, "extends more than 200 files", DOUBLING),
    said("extends what is not there", f"extends: nope.yml\n{KKT}", "extends nope.yml, but .* does not exist"),
    said("extends a directory", f"extends: ..\n{KKT}", "does not exist"),
    said("extends a name too long", f"extends: {'x' * 300}\n{KKT}", "cannot be opened .File name too long."),
    said("extends a NUL", f'extends: "a\\0b"\n{KKT}', "extends ab, but .* does not exist"),
    said("extends a foreign file", "extends: /etc/passwd\n", "/etc/passwd: "),
    Case("extends an empty file", STATUS, 2, r"f\.yml: is empty", {"e.yml": "extends: f.yml\n", "f.yml": ""}),
    Case("extends broken YAML", STATUS, 2, r"f\.yml: cannot be", {"e.yml": "extends: f.yml\n", "f.yml": "{"}),
    Case(
        "a mistake in what is extended",
        STATUS,
        2,
        r"f\.yml: seed should",
        {"e.yml": f"extends: f.yml\n{KKT}", "f.yml": "seed: x\n"},
    ),
    # --------------------------------------------------------------------------------------------- grids
    *(
        said(f"grid: {grid}", f"{KKT}grid: {grid}\n", line)
        for grid, line in [
            ("{}", "grid is a mapping of axes"),
            ("[1]", "grid is a mapping of axes"),
            ("5", "grid is a mapping of axes"),
            ("null", "grid is a mapping of axes"),
            ("{seed: []}", "grid.seed is a list of values, or labels"),
            ("{seed: 5}", "grid.seed is a list of values, or labels"),
            ("{seed: {}}", "grid.seed is a list of values, or labels"),
            ("{seed: null}", "grid.seed is a list of values, or labels"),
            ("{seed: {a: 1}}", "grid.seed is a list of values, or labels"),
            ("{1: [1, 2]}", "grid.1: the name of an axis should be a string, not 1"),
            ("{null: [1]}", "the name of an axis should be a string"),
            ("{k: {a/b: {seed: 1}, a_b: {seed: 2}}}", "k=a_b: would share its directory, k=a_b, with .*k=a/b"),
            ("{k: {'a b': {seed: 1}, a+b: {seed: 2}}}", "would share its directory, k=a_b"),
            ("{seed: [2, 2]}", "would share its directory, seed=2"),
            ("{seed: [1, '1']}", "would share its directory, seed=1"),
            ("{seed: [x, 1]}", "grid point seed=x: seed should be a valid integer, not 'x'"),
            ("{seed: [[1, 2]]}", r"grid point seed=\[1, 2\]: seed should be a valid integer"),
            ("{kkt.nonsense: [1]}", "grid point nonsense=1: unknown key kkt.nonsense"),
            ("{seed.: [1]}", "grid point =1: seed should be a valid integer"),
            ("{grid: [1]}", "grid.grid, 1: grid is no key that a grid can change"),
            ("{k: {a: {grid: {seed: [1]}}}}", "grid is no key that a grid can change"),
            ("{k: {a: {1: 2}}}", "1 is no key that a grid can change"),
            ("{point: [a, b]}", "point is no key that a grid can change"),
            ("{extends: [a]}", "extends is no key that a grid can change"),
            (
                "{" + ", ".join(f"a{n}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" for n in range(9)) + "}",
                "grid has 1,000,000,000 points; a study has at most 10,000",
            ),
        ]
    ),
    said(
        "a point of no grid point", f"point: seed=9\n{KKT}grid: {{seed: [1, 2]}}\n", "choose one of its points .*seed=1"
    ),
    said("a list as point", f"point: [1]\n{KKT}grid: {{seed: [1, 2]}}\n", "choose one of its points"),
    said("many points shown", f"point: x\n{KKT}grid: {{seed: {list(range(99))}}}\n", r"… \(99 in all\)"),
]
