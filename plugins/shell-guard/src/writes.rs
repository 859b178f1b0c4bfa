//! The files that a command writes, moves, links or deletes, by its arguments.

use shell::{Operands, Text};

/// Every operand is written to.
const ALL: [&str; 14] = [
    "tee", "rm", "rmdir", "unlink", "shred", "truncate", "touch", "mkdir", "mkfifo", "mknod",
    "sponge", "xz", "gzip", "gunzip",
];
/// The first operand is no file.
const ALL_BUT_FIRST: [&str; 4] = ["chmod", "chown", "chgrp", "setfacl"];

/// The targets; also what cannot be told, so that it can be denied.
pub(crate) fn of(name: &str, arguments: &[Text]) -> Vec<Text> {
    match name {
        _ if ALL.contains(&name) => {
            let valued: &[&str] = match name {
                "truncate" => &["-s", "-r", "--size", "--reference"],
                "touch" => &["-d", "-r", "-t", "--date", "--reference"],
                "mkdir" | "mkfifo" | "mknod" => &["-m", "--mode"],
                "shred" => &["-n", "-s", "--iterations", "--size"],
                _ => &[],
            };
            Operands::read(arguments, valued).operands
        }
        _ if ALL_BUT_FIRST.contains(&name) => {
            let read = Operands::read(arguments, &["--reference"]);
            let first = usize::from(!read.has(&["--reference"]));
            read.operands.into_iter().skip(first).collect()
        }
        "cp" | "install" => copied(arguments, false),
        "mv" => copied(arguments, true),
        // A link that leads out of the workspace is a way out of it.
        "ln" => linked(arguments),
        "dd" => prefixed(arguments, "of="),
        "sed" => edited(
            arguments,
            &["-i", "--in-place"],
            &["-e", "-f", "-l", "--expression", "--file"],
        ),
        "perl" | "ruby" => edited(arguments, &["-i"], &["-e", "-E", "-I", "-M"]),
        "sort" => valued(arguments, &["-o", "--output"], &["-k", "-t", "-S", "-T"]),
        "curl" => {
            let others = [
                "-H",
                "-d",
                "-X",
                "-u",
                "-A",
                "-e",
                "-b",
                "-F",
                "-T",
                "-x",
                "-m",
                "-w",
                "-K",
                "--header",
                "--data",
                "--request",
                "--max-time",
                "--retry",
                "--connect-timeout",
            ];
            valued(
                arguments,
                &[
                    "-o",
                    "--output",
                    "--output-dir",
                    "-c",
                    "--cookie-jar",
                    "-D",
                    "--dump-header",
                ],
                &others,
            )
        }
        "wget" | "wget2" => {
            let files = valued(
                arguments,
                &[
                    "-O",
                    "--output-document",
                    "-P",
                    "--directory-prefix",
                    "-o",
                    "--output-file",
                    "-a",
                ],
                &["-U", "-t", "-T", "--header"],
            );
            files
                .into_iter()
                .filter(|file| file.known() != Some("-"))
                .collect()
        }
        "tar" => unpacked(arguments),
        "unzip" => valued(arguments, &["-d"], &["-x"]),
        "rsync" | "scp" => {
            let read = Operands::read(
                arguments,
                &[
                    "-e",
                    "-i",
                    "-o",
                    "-P",
                    "-p",
                    "-l",
                    "-F",
                    "--rsh",
                    "--exclude",
                    "--include",
                ],
            );
            // A remote place is none of this machine.
            read.operands
                .last()
                .filter(|target| !target.to_string().contains(':'))
                .cloned()
                .into_iter()
                .collect()
        }
        "find" => found(arguments),
        "git" => cloned(arguments),
        _ => Vec::new(),
    }
}

/// All but the last operand are sources; `-t` names the target in their place.
fn copied(arguments: &[Text], moves: bool) -> Vec<Text> {
    let read = Operands::read(
        arguments,
        &[
            "-t",
            "--target-directory",
            "-m",
            "-o",
            "-g",
            "-S",
            "--mode",
            "--owner",
            "--group",
            "--suffix",
        ],
    );
    let mut targets: Vec<Text> = read
        .values(&["-t", "--target-directory"])
        .cloned()
        .collect();
    if moves || read.has(&["-d", "--directory"]) && targets.is_empty() {
        targets.extend(read.operands);
    } else if targets.is_empty() {
        targets.extend(read.operands.last().cloned());
    }
    targets
}

/// The link and what it leads to, which is relative to the link's own directory.
fn linked(arguments: &[Text]) -> Vec<Text> {
    let read = Operands::read(arguments, &["-t", "--target-directory", "-S", "--suffix"]);
    let mut targets: Vec<Text> = read
        .values(&["-t", "--target-directory"])
        .cloned()
        .collect();
    let symbolic = read.has(&["-s", "--symbolic"]) && !read.has(&["-r", "--relative"]);
    let link = match targets.is_empty() {
        true if read.operands.len() > 1 => read.operands.last().cloned(),
        _ => targets.first().cloned(),
    };
    for operand in &read.operands {
        let relative = !operand.start().starts_with('/') && !operand.pieces().is_empty();
        let directory = link.as_ref().map(ToString::to_string).unwrap_or_default();
        let directory = directory
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        if symbolic
            && relative
            && !directory.is_empty()
            && Some(operand) != link.as_ref()
            && operand.known().is_some()
        {
            targets.push(Text::literal(format!("{directory}/{operand}")));
        } else {
            targets.push(operand.clone());
        }
    }
    targets
}

fn prefixed(arguments: &[Text], prefix: &str) -> Vec<Text> {
    arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix(prefix))
        .collect()
}

/// Files that are edited in place; the first operand is a program where none is given by an option.
fn edited(arguments: &[Text], in_place: &[&str], valued: &[&str]) -> Vec<Text> {
    let read = Operands::read(arguments, valued);
    // `-i.bak` and `-pi` too.
    if !read.has(in_place) {
        return Vec::new();
    }
    let program = usize::from(!read.has(&["-e", "-f", "-E", "--expression", "--file"]));
    read.operands.into_iter().skip(program).collect()
}

fn valued(arguments: &[Text], options: &[&str], others: &[&str]) -> Vec<Text> {
    let all = [options, others].concat();
    Operands::read(arguments, &all)
        .values(options)
        .cloned()
        .collect()
}

/// `tar xf a -C dir`, `tar -czf file .`; the dash may be left out of the first argument.
fn unpacked(arguments: &[Text]) -> Vec<Text> {
    let mut arguments = arguments.to_vec();
    if let Some(first) = arguments.first_mut()
        && first.known().is_some_and(|text| {
            !text.starts_with('-') && text.bytes().all(|b| b.is_ascii_alphabetic())
        })
    {
        *first = Text::literal(format!("-{first}"));
    }
    let read = Operands::read(
        &arguments,
        &["-f", "--file", "-C", "--directory", "-T", "-X", "--exclude"],
    );
    let mut targets: Vec<Text> = Vec::new();
    if read.has(&["-x", "--extract", "--get"]) {
        targets.extend(read.values(&["-C", "--directory"]).cloned());
    }
    if read.has(&["-c", "--create", "-r", "-u", "--append", "--update"]) {
        let files = read
            .values(&["-f", "--file"])
            .filter(|file| file.known() != Some("-"));
        targets.extend(files.cloned());
    }
    targets
}

/// `-delete` deletes where it searches; `-fprint` and its like write a file.
fn found(arguments: &[Text]) -> Vec<Text> {
    let mut targets = Vec::new();
    if arguments
        .iter()
        .any(|argument| argument.known() == Some("-delete"))
    {
        let starts = arguments
            .iter()
            .take_while(|a| !a.start().starts_with(['-', '(', '!']));
        targets.extend(starts.cloned());
    }
    for pair in arguments.windows(2) {
        if let [option, file] = pair
            && matches!(
                option.known(),
                Some("-fprint" | "-fprint0" | "-fprintf" | "-fls")
            )
        {
            targets.push(file.clone());
        }
    }
    targets
}

/// Where `git clone`, `init` and `worktree add` put something.
fn cloned(arguments: &[Text]) -> Vec<Text> {
    let (read, rest) = Operands::leading(arguments, &["-C", "-c", "--git-dir", "--work-tree"]);
    let mut targets: Vec<Text> = read
        .values(&["-C", "--git-dir", "--work-tree"])
        .cloned()
        .collect();
    let Some((verb, rest)) = rest.split_first() else {
        return Vec::new();
    };
    let operands = Operands::read(
        rest,
        &["-b", "--branch", "--depth", "-o", "-c", "--reference"],
    )
    .operands;
    match verb.known() {
        Some("clone") => targets.extend(operands.get(1).cloned()),
        Some("init") => targets.extend(operands.first().cloned()),
        Some("worktree") => targets.extend(operands.get(1).cloned()),
        Some(
            "status" | "log" | "diff" | "show" | "rev-parse" | "ls-files" | "branch" | "remote"
            | "config" | "blame" | "grep" | "describe",
        ) => targets.clear(),
        _ => {}
    }
    targets
}
