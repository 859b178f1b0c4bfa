//! What the parser takes and what it refuses.
#![allow(clippy::unwrap_used)]

use super::parse;

#[test]
fn ordinary_lines_can_be_read() {
    for line in [
        "",
        "# only a comment",
        "a; b && c || d | e & f\ng |& h",
        "(a; b) > x 2>&1 && { c; }",
        "if a; then b; elif c; then d; else e; fi",
        "while read -r x; do echo \"$x\"; done < f",
        "for f in a b *.txt; do echo $f; done",
        "for f; do echo $f; done",
        "for ((i = 0; i < 3; i++)); do echo $i; done",
        "case $x in a|b) c;; (d) e ;& *) f ;; esac",
        "f() { a; }; function g { b; }",
        "[[ -f x && $a =~ ^(a|b)$ ]] && echo yes",
        "a=(1 2 3); export B=c",
        "cat <<EOF | sh -x\nbody $X\nEOF\nls",
        "cat <<'A' <<-B\n1\nA\n\t2\n\tB",
        "git commit -m \"$(cat <<'EOF'\nit's (fine); rm\nEOF\n)\"",
        "echo $((1 + $x * 2)) ${x} ${y:-$(id)} ${z%.txt}",
        "diff <(a) <(b) | tee >(c)",
        "time -p make",
        "! grep -q x y",
        "gi\\\nt status",
        "echo a#b",
        "find . -name '*.rs' -exec grep -l x {} \\;",
        "echo {a,b}{1..3}",
        "test -z \"${X+set}\"",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn what_is_not_understood_is_an_error() {
    for line in [
        "echo 'a",
        "echo \"a",
        "echo $(a",
        "echo `a",
        "echo ${a",
        "ls !(x)",
        "a)",
        "(a",
        "(a) b",
        "cat <<EOF\nx",
        "a \\",
        "echo $((a[$(id)]))",
        "echo \0",
        "a >",
        "a &&",
        "| a",
        "fi",
        "if a; fi",
        "for x in a; b",
        "coproc a",
        "a ;; b",
        "echo $'\\xff'",
        "echo ${x@P}",
        "(cat <<EOF)\nEOF",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(60), close.repeat(60));
    for line in [
        deep("$(", ")"),
        deep("( ", " )"),
        deep("${x:-", "}"),
        deep("if a; then ", "; fi"),
        "f() ".repeat(60),
    ] {
        assert!(parse(&line).is_err(), "{line}");
    }
}
