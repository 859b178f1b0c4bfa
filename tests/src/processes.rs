//! Processes that belong to one gateway, found by the data directory that each of them is given or
//! the workspace in which it runs.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, blanks between the words.
    pub command: String,
}

impl Process {
    /// Whether it is the supervisor between a job and its agent.
    pub fn is_guard(&self) -> bool {
        self.command.contains("gatehouse guard")
    }

    /// Ends it as the kernel's out-of-memory killer would.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Tells it anything.
    pub fn signal(&self, signal: Signal) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
    }
}

/// Every process but zombies that works below `directory`: by its working directory, its
/// environment or its arguments, or because one that does started it (the guard names no directory).
pub fn below(directory: &Path) -> Vec<Process> {
    let needle = directory.to_string_lossy().into_owned();
    let mut found: Vec<Process> = Vec::new();
    let mut others: Vec<(i32, Process)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if pid == std::process::id() as i32 {
            continue;
        }
        let path = entry.path();
        let read = |file: &str| fs::read(path.join(file)).unwrap_or_default();
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&needle);
        let at_work = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        let command = String::from_utf8_lossy(&read("cmdline"))
            .replace('\0', " ")
            .trim()
            .to_owned();
        if command.is_empty() {
            continue;
        }
        let process = Process { pid, command };
        if at_work || holds(&read("environ")) || holds(&read("cmdline")) {
            found.push(process);
        } else {
            others.push((parent(&read("stat")), process));
        }
    }
    loop {
        let started =
            |(parent, _): &(i32, Process)| found.iter().any(|process| process.pid == *parent);
        let Some(at) = others.iter().position(started) else {
            return found;
        };
        found.push(others.swap_remove(at).1);
    }
}

/// Field 4 of `/proc/{pid}/stat`; the name before it may hold anything but ends with the last bracket.
fn parent(stat: &[u8]) -> i32 {
    let stat = String::from_utf8_lossy(stat);
    let fields = stat.rsplit(')').next().unwrap_or("");
    fields
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

/// Those of them whose command line holds `word`.
pub fn named(directory: &Path, word: &str) -> Vec<Process> {
    below(directory)
        .into_iter()
        .filter(|process| process.command.contains(word))
        .collect()
}

/// Bytes by a field of `/proc/{pid}/status`, such as `VmRSS:`.
pub fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next());
    1024 * kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .expect("a number")
}
