//! The reader held against bash itself.
//!
//! Words are put together from a seed, and bash is asked what arguments it makes of them. Where the
//! reader says that it knows the arguments, they must be bash's; and lines of any characters must be
//! read or refused, never break it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::Write;
use std::process::{Command, Stdio};

use shell::{Context, Deed, Text, events};

/// A small generator of numbers (xorshift): the same on every run.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const CONTEXT: Context<'_> = Context {
    workspace: "/work/task",
    cwd: "/work/task",
};

const FRAGMENTS: [&str; 44] = [
    "a",
    "b c",
    "'a b'",
    "\"a b\"",
    "\\ ",
    "\\a",
    "$'\\x63url'",
    "$'\\u0041\\n\\t'",
    "$'\\101\\''",
    "''",
    "\"\"",
    "{a,b}",
    "{a,'b c'}",
    "{,x}",
    "{a",
    "a}",
    "{1}",
    "{a,b,{c,d}}",
    "\"$X\"",
    "$X",
    "${X}",
    "\"${X}y\"",
    "$Y",
    "${Y}",
    "\"$Y\"",
    "$(echo p q)",
    "\"$(echo p q)\"",
    "`echo r`",
    "\"`echo \\\"s\\\"`\"",
    "\\\n",
    "\"\\\n\"",
    "\"\\$X\"",
    "'$X'",
    "#",
    "=",
    "~a\"\"",
    ",",
    "\"\\a\"",
    "$'\\q'",
    "${Z%.txt}",
    "${Z##*/}",
    "$\"g\"",
    "\\\\",
    "\"'\"",
];

const SETUP: &str = "X='one two'; Y=three; Z=dir/four.txt; ";

#[test]
fn what_is_known_of_arguments_is_what_bash_makes_of_them() {
    let mut seed = Seed(0x9e37_79b9_7f4a_7c15);
    let lines: Vec<String> = (0..4000)
        .map(|_| {
            let mut words = String::new();
            for _ in 0..=seed.below(3) {
                words.push(' ');
                for _ in 0..=seed.below(4) {
                    words.push_str(seed.pick(&FRAGMENTS));
                }
            }
            words
        })
        .collect();

    // Each line's arguments end with a NUL, each line with another.
    let script: String = lines
        .iter()
        .map(|words| {
            let quoted = format!("{SETUP}show{words}").replace('\'', "'\\''");
            format!("eval '{quoted}'\nprintf '\\n\\0'\n")
        })
        .collect();
    let script = format!("show() {{ for a in \"$@\"; do printf '%s\\0' \"$a\"; done; }}\n{script}");
    let mut bash = Command::new("bash")
        .args(["--norc", "-s"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = bash.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = bash.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let mut shown = output.split('\0');

    let mut compared = 0;
    for words in &lines {
        let by_bash: Vec<&str> = shown.by_ref().take_while(|text| *text != "\n").collect();
        let Ok(read) = events(&format!("{SETUP}show{words}"), CONTEXT) else {
            continue;
        };
        let argv = read.iter().find_map(|event| match &event.deed {
            Deed::Run(argv) if argv.first().and_then(Text::known) == Some("show") => Some(argv),
            _ => None,
        });
        let known: Option<Vec<&str>> = argv.and_then(|argv| argv.iter().map(Text::known).collect());
        if let Some(known) = known {
            assert_eq!(known.get(1..).unwrap_or_default(), by_bash, "{words}");
            compared += 1;
        }
    }
    assert!(
        compared > 3000,
        "only {compared} of {} lines were compared",
        lines.len()
    );
}

#[test]
fn any_line_is_read_or_refused() {
    let parts = [
        "$(",
        ")",
        "(",
        "`",
        "'",
        "\"",
        "${",
        "}",
        "{",
        "<<EOF\n",
        "\nEOF\n",
        "<(",
        ">",
        ">>",
        "<<<",
        "|",
        "||",
        "&&",
        "&",
        ";",
        ";;",
        "\n",
        " ",
        "\\",
        "$'",
        "$",
        "$((",
        "))",
        "case x in ",
        "esac",
        "if ",
        "then ",
        "fi",
        "while ",
        "do ",
        "done",
        "for x in ",
        "f() ",
        "[[ ",
        " ]]",
        "=",
        "a=(",
        "curl x",
        "sh ",
        "bash -c ",
        "eval ",
        "xargs ",
        "cd .. ",
        "find . -exec ",
        "{} ",
        "\\;",
        "env ",
        "!",
        "#",
        "*",
        "[",
        "]",
        "é",
        "\u{1F600}",
        "~",
        "trap ",
        "read x",
        "$@",
        "f ",
    ];
    let mut seed = Seed(0x2545_f491_4f6c_dd1d);
    let mut read = 0;
    for _ in 0..20_000 {
        let line: String = (0..=seed.below(14)).map(|_| seed.pick(&parts)).collect();
        read += usize::from(events(&line, CONTEXT).is_ok());
    }
    assert!(read > 500, "only {read} lines could be read at all");
}

#[test]
fn what_bash_refuses_to_parse_is_never_read_as_another_line() {
    // Keywords and operators in any order: what is read here must be a line to bash as well.
    let parts = [
        "a ",
        "; ",
        "&& ",
        "| ",
        "& ",
        "( ",
        ") ",
        "{ ",
        "; } ",
        "if a; then ",
        "; fi ",
        "else ",
        "while a; do ",
        "; done ",
        "for i in x; do ",
        "case x in y) ",
        ";; esac ",
        "! ",
        "f() ",
        "\n",
        "> b ",
        "[[ a ]] ",
        "$(a) ",
        "'q' ",
    ];
    let mut seed = Seed(0x1234_5678_9abc_def1);
    let mut accepted: Vec<String> = Vec::new();
    while accepted.len() < 400 {
        let line: String = (0..=seed.below(9)).map(|_| seed.pick(&parts)).collect();
        if events(&line, CONTEXT).is_ok() && !accepted.contains(&line) {
            accepted.push(line);
        }
    }
    for line in accepted {
        let checked = Command::new("bash")
            .args(["--norc", "-n", "-c", &line])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(checked.success(), "bash does not take {line:?}");
    }
}
