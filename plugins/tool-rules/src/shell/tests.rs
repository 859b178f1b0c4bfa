//! What the splitter makes of lines, hostile ones among them.
#![allow(clippy::unwrap_used)]

use super::{Unsure, parse};

fn commands(line: &str) -> Vec<String> {
    let read = parse(line).unwrap();
    read.iter()
        .map(|c| format!("{}{}", if c.simple { "" } else { "!" }, c.raw()))
        .collect()
}

#[test]
fn every_operator_separates_commands() {
    assert_eq!(
        commands("a; b && c || d | e & f\ng |& h"),
        ["a", "b", "c", "d", "e", "f", "g", "h"]
    );
}

#[test]
fn operators_in_quotes_separate_nothing() {
    assert_eq!(
        commands(r#"echo "a; b" 'c && d' e\;f"#),
        [r#"echo "a; b" 'c && d' e\;f"#]
    );
}

#[test]
fn commands_in_substitutions_are_found_and_the_outer_one_is_not_simple() {
    assert_eq!(commands("echo $(id)"), ["id", "!echo $(id)"]);
    assert_eq!(commands("echo \"`id -u`\""), ["id -u", "!echo \"`id -u`\""]);
    assert_eq!(
        commands("echo \"a $(b \"$(c)\")\""),
        ["c", "!b \"$(c)\"", "!echo \"a $(b \"$(c)\")\""]
    );
    assert_eq!(commands("diff <(a) <(b)"), ["a", "b", "!diff <() <()"]);
    assert_eq!(commands("echo ${X:-$(id)}"), ["id", "!echo ${X:-$(id)}"]);
    assert_eq!(commands(r"echo `echo \`id\``").len(), 3);
}

#[test]
fn substitutions_in_single_quotes_are_text() {
    assert_eq!(commands("echo '$(id) `id`'"), ["echo '$(id) `id`'"]);
    assert_eq!(commands(r#"echo "\$(id)""#), [r#"echo "\$(id)""#]);
}

#[test]
fn only_redirections_to_nowhere_keep_a_command_simple() {
    assert_eq!(commands("a 2>&1 >/dev/null </dev/null"), ["a"]);
    assert_eq!(commands("a &>/dev/null && b"), ["a", "b"]);
    for line in [
        "a > x",
        "a >> x",
        "a >| x",
        "a < x",
        "a 2>x",
        "a &> x",
        "a >& x",
        "a <<< x",
        "a > /dev/null/../x",
    ] {
        assert_eq!(commands(line), ["!a"], "{line}");
    }
}

#[test]
fn an_assignment_before_a_command_makes_it_not_simple() {
    assert_eq!(commands("LD_PRELOAD=/x ls"), ["!ls"]);
    assert_eq!(commands("PATH=/x; ls"), ["!", "ls"]);
    assert_eq!(commands("ls A=b"), ["ls A=b"]);
}

#[test]
fn bodies_of_here_documents_are_no_commands_unless_they_substitute() {
    assert_eq!(
        commands("cat <<'EOF'\nrm -rf /; $(id)\nEOF\nls"),
        ["!cat", "ls"]
    );
    assert_eq!(
        commands("cat <<EOF\n$(id) rm\nEOF\nls"),
        ["!cat", "id", "ls"]
    );
    assert_eq!(commands("cat <<-E\n\tx\n\tE\nls"), ["!cat", "ls"]);
    assert_eq!(
        commands("git commit -m \"$(cat <<'EOF'\nit's (fine); rm\nEOF\n)\"")
            .first()
            .unwrap(),
        "!cat"
    );
}

#[test]
fn subshells_comments_and_continued_lines_are_understood() {
    assert_eq!(commands("(a; b) && c # d; e"), ["a", "b", "c"]);
    assert_eq!(commands("git \\\n status"), ["git status"]);
    assert_eq!(commands("gi\\\nt status"), ["git status"]);
    assert_eq!(commands("(a) > x"), ["a", "!"]);
}

#[test]
fn what_is_not_understood_is_unsure() {
    for line in [
        "echo 'a",
        "echo \"a",
        "echo $(a",
        "echo `a",
        "f() { a; }",
        "a=(1 2)",
        "ls !(x)",
        "a)",
        "(a",
        "cat <<EOF\nx",
        "a \\",
        "echo $((a[$(id)]))",
        "echo \0",
        "(a) b",
        "a >",
        "case x in a) b;; esac",
    ] {
        assert_eq!(parse(line), Err(Unsure), "{line}");
    }
    assert_eq!(
        parse(&format!("{}a{}", "$(".repeat(40), ")".repeat(40))),
        Err(Unsure)
    );
}

#[test]
fn words_lose_their_quotes_and_tell_whether_they_expand() {
    let read = parse(r#"c'u'"r"\l $X"#).unwrap();
    let words = &read.first().unwrap().words;
    assert_eq!(words.first().unwrap().text, "curl");
    assert!(!words.first().unwrap().expands);
    assert!(words.last().unwrap().expands);
}
