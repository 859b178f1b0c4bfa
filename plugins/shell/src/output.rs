//! What a few commands print, for `$(…)`, `xargs` and `read`.

use crate::command::{Operands, base_name};
use crate::state::State;
use crate::text::{Piece, Text};

/// Commands that print some of the lines that they are given, or the same in another order.
const FILTERS: [&str; 6] = ["sort", "uniq", "head", "tail", "tac", "shuf"];
/// Commands that print one name or number.
const NAMES: [&str; 7] = [
    "date", "nproc", "whoami", "hostname", "uname", "basename", "wc",
];

/// The lines that a command prints, given those of its standard input; none where that is not known.
pub(crate) fn of(argv: &[Text], input: Option<&[Text]>, state: &State) -> Option<Vec<Text>> {
    let (name, arguments) = argv.split_first()?;
    let name = base_name(name.known()?);
    if NAMES.contains(&name) {
        let plain = arguments
            .iter()
            .all(|argument| !argument.start().contains(".."));
        return plain.then(|| vec![some_name()]);
    }
    if FILTERS.contains(&name)
        && Operands::read(arguments, &["-n", "-k", "-t", "-c"])
            .operands
            .is_empty()
    {
        return input.map(<[Text]>::to_vec);
    }
    match name {
        "echo" | "printf" => printed(name, arguments),
        "pwd" => Some(state.cwds.clone()),
        "cat" if arguments.is_empty() => input.map(<[Text]>::to_vec),
        "mktemp"
            if arguments
                .iter()
                .all(|a| matches!(a.known(), Some("-d" | "-q"))) =>
        {
            let mut path = Text::literal("/tmp/");
            path.push(Piece::Name);
            Some(vec![path])
        }
        "find" => {
            let starts = arguments
                .iter()
                .take_while(|a| !a.start().starts_with(['-', '(', '!']));
            let plain = !arguments.iter().any(|a| a.start().contains("print"));
            below(starts.cloned().collect()).filter(|_| plain)
        }
        "grep" | "egrep" | "fgrep" | "rg" => searched(name, arguments, input),
        "ls" => match Operands::read(arguments, &[]).operands {
            // Of a directory it prints the bare names.
            operands if operands.len() <= 1 => Some(vec![some_name()]),
            _ => None,
        },
        "git" => git(arguments),
        _ => None,
    }
}

fn some_name() -> Text {
    let mut text = Text::default();
    text.push(Piece::Name);
    text
}

fn printed(name: &str, arguments: &[Text]) -> Option<Vec<Text>> {
    let arguments = match arguments.split_first() {
        Some((first, rest)) if first.known() == Some("-n") && name == "echo" => rest,
        _ => arguments,
    };
    let escapes = |text: &Text| text.to_string().contains(['\\', '%']);
    if arguments
        .first()
        .is_some_and(|first| first.start().starts_with('-'))
        || arguments.iter().any(escapes)
        || (name == "printf" && arguments.len() != 1)
    {
        return None;
    }
    let mut line = Text::default();
    for (place, argument) in arguments.iter().enumerate() {
        if place > 0 {
            line.push_str(" ");
        }
        line.append(argument);
    }
    Some(vec![line])
}

/// What lies somewhere below these directories; below the one in which the shell stands, where there
/// are none.
fn below(mut starts: Vec<Text>) -> Option<Vec<Text>> {
    if starts.is_empty() {
        starts.push(Text::literal("."));
    }
    let paths = starts.into_iter().map(|mut start| {
        start.push_str("/");
        start.push(Piece::Name);
        start
    });
    Some(paths.collect())
}

fn searched(name: &str, arguments: &[Text], input: Option<&[Text]>) -> Option<Vec<Text>> {
    let valued = [
        "-e",
        "-f",
        "-m",
        "-A",
        "-B",
        "-C",
        "-g",
        "-t",
        "-T",
        "--include",
        "--exclude",
        "--exclude-dir",
        "--glob",
        "--type",
    ];
    let read = Operands::read(arguments, &valued);
    let pattern = usize::from(!read.has(&["-e", "-f", "--files"]));
    let places: Vec<Text> = read.operands.into_iter().skip(pattern).collect();
    let lists = |names: &[&str]| {
        read.options
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    };
    if lists(&[
        "-l",
        "-L",
        "--files-with-matches",
        "--files-without-match",
        "--files",
    ]) {
        return below(places);
    }
    let transforms = lists(&["-o", "--only-matching", "-n", "-c", "-r", "-R", "--replace"]);
    (places.is_empty() && !transforms && name != "rg")
        .then(|| input.map(<[Text]>::to_vec))
        .flatten()
}

fn git(arguments: &[Text]) -> Option<Vec<Text>> {
    let known: Vec<&str> = arguments.iter().filter_map(Text::known).collect();
    match known.as_slice() {
        ["ls-files", ..] => below(Vec::new()),
        ["diff" | "show", rest @ ..] if rest.contains(&"--name-only") => below(Vec::new()),
        ["rev-parse", rest @ ..] if !rest.iter().any(|argument| argument.starts_with("--")) => {
            Some(vec![some_name()])
        }
        ["rev-parse", "--short" | "--abbrev-ref", ..] | ["describe", ..] => Some(vec![some_name()]),
        _ => None,
    }
}
