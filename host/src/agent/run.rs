//! One run of the CLI: starts it, keeps the conversation going, ends it, judges it.

use std::ffi::OsString;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lines::{Line, Lines};
use super::outcome::{Evidence, Stop, judge, not_started};
use super::protocol::{self, Event, Frame};
use super::talk::{Due, MOST_UNWRITTEN, Talk};
use super::{AgentEnd, AgentTask, Gate, command_line};
use crate::isolation::{Ended, IsolationError, Program, Sandbox, Supervised};
use crate::redact::Redactor;
use crate::task::EventLog;

/// We look at the clock this often; whoever comes later than that by as much again was stopped, or is
/// on a machine that does nothing any more.
const TICK: Duration = Duration::from_secs(1);
/// Bytes of standard error that are kept.
const COMPLAINT: usize = 4096;
/// Time for writing down what came before the end, once everything is dead.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Time for reading what is left in the pipe of standard error then.
const LAST_COMPLAINT: Duration = Duration::from_secs(2);

/// Where a run keeps its own files; not the task's workspace.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) home: &'a Path,
    pub(super) tmp: &'a Path,
}

/// Takes the lines that a caller may see.
#[async_trait]
pub(super) trait Sink: Sync {
    /// A line of the CLI's.
    async fn append(&self, line: &[u8]);
    /// A line of ours.
    async fn say(&self, fields: Value);

    /// Takes secrets out of what is cut before it comes here.
    fn redactor(&self) -> Redactor;
}

#[async_trait]
impl Sink for EventLog {
    async fn append(&self, line: &[u8]) {
        EventLog::append(self, line).await;
    }

    async fn say(&self, fields: Value) {
        EventLog::say(self, fields).await;
    }

    fn redactor(&self) -> Redactor {
        EventLog::redactor(self).clone()
    }
}

/// Runs the CLI to its end; nothing of it is left then.
pub(super) async fn run(
    task: &AgentTask,
    sandbox: &Sandbox,
    place: Place<'_>,
    gate: &dyn Gate,
    sink: &dyn Sink,
    cancel: CancellationToken,
) -> AgentEnd {
    match start(task, sandbox, place).await {
        Ok(process) => match follow(task, sandbox, process, gate, sink, cancel).await {
            Ok(evidence) => judge(&evidence, task.output_schema.as_ref(), &sink.redactor()),
            Err(error) => not_started(&error),
        },
        Err(error) => not_started(&error),
    }
}

async fn start(
    task: &AgentTask,
    sandbox: &Sandbox,
    place: Place<'_>,
) -> Result<Supervised, IsolationError> {
    let path = sandbox.reachable_binary(&task.binary).await?;
    let mcp_config = place.home.join("mcp.json");
    if let Some(config) = &task.mcp_config {
        sandbox.write_for_agent(&mcp_config, config.to_string().as_bytes())?;
    }
    let args: Vec<OsString> = command_line::arguments(
        task,
        sandbox.workspace(),
        task.mcp_config.as_ref().map(|_| mcp_config.as_path()),
    );
    let env = command_line::environment(task, place.home, place.tmp, sandbox.runs_as_root());
    sandbox.spawn(&Program {
        path,
        args,
        env,
        cwd: task.cwd.clone(),
    })
}

/// How the conversation came to its end.
enum Over {
    Ended(Result<Ended, IsolationError>),
    Stopped(Stop),
}

/// Keeps the conversation going until nothing of the process is left. An error if it never started.
async fn follow(
    task: &AgentTask,
    sandbox: &Sandbox,
    mut process: Supervised,
    gate: &dyn Gate,
    sink: &dyn Sink,
    cancel: CancellationToken,
) -> Result<Evidence, IsolationError> {
    let complaint = process
        .stderr
        .take()
        .map(|stderr| tokio::spawn(end_of(stderr, COMPLAINT + sink.redactor().reach())));
    let (lines, unwritten) = mpsc::channel(MOST_UNWRITTEN);
    // Here and not in a task of its own: an answer is written where it was found, without another
    // thread that would have to wake up for it.
    let mut writing = pin!(write_all(process.stdin.take(), unwritten));
    let mut is_writing = true;
    let (frames, mut heard) = mpsc::channel(16);
    let mut reading = pin!(read_all(
        process.stdout.take(),
        task.limits.max_line,
        frames,
        sink
    ));
    let mut is_reading = true;
    let mut talk = Talk::open(task, sandbox.workspace().to_owned(), gate, lines);

    let over = loop {
        let (at, due) = talk.due();
        let now = Instant::now();
        let wake = at.clamp(now, now + TICK);
        let cancellable = !talk.was_interrupted();
        // In this order: what the CLI said before a deadline counts, however late we come to read it.
        let step = tokio::select! {
            biased;
            () = &mut writing, if is_writing => {
                is_writing = false;
                Ok(())
            }
            Some(frame) = heard.recv(), if talk.has_room() => talk.hear(frame),
            () = &mut reading, if is_reading => {
                is_reading = false;
                Ok(())
            }
            step = talk.decided(), if talk.is_deciding() => step,
            ended = process.wait() => break Over::Ended(ended),
            () = cancel.cancelled(), if cancellable => talk.interrupt(),
            () = tokio::time::sleep_until(wake) => match due {
                _ if wake < at || wake.elapsed() > TICK => Ok(()),
                Due::Stop(stop) => Err(stop),
                Due::Close => {
                    talk.close_now();
                    Ok(())
                }
                Due::AskAboutServers => talk.ask_about_servers(),
                Due::GiveUpServers => talk.give_up_servers(),
            },
        };
        // Whatever was there first when we came back: a decision's own deadline may have passed as well.
        if wake.elapsed() > TICK {
            talk.excuse(wake, wake.elapsed());
        }
        for note in talk.notes.drain(..) {
            sink.say(note).await;
        }
        if let Err(stop) = step {
            break Over::Stopped(stop);
        }
        if talk.turn_was_interrupted() {
            break Over::Stopped(Stop::Cancelled);
        }
    };

    talk.close();
    let was_interrupted = talk.was_interrupted();
    let mut ending = pin!(async {
        match over {
            // It ended by itself while we were about to end it.
            Over::Ended(ended) => (was_interrupted.then_some(Stop::Cancelled), ended),
            Over::Stopped(stop) => (Some(stop), process.terminate(task.limits.term_grace).await),
        }
    });
    // The pipes are read until the end, because a program that cannot write cannot end well either.
    let (stop, ended) = loop {
        tokio::select! {
            biased;
            () = &mut writing, if is_writing => is_writing = false,
            Some(frame) = heard.recv() => talk.note(frame),
            () = &mut reading, if is_reading => is_reading = false,
            ended = &mut ending => break ended,
        }
    };
    let last_words = async {
        while is_reading || !heard.is_empty() {
            tokio::select! {
                biased;
                Some(frame) = heard.recv() => talk.note(frame),
                () = &mut reading, if is_reading => is_reading = false,
            }
        }
    };
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::error!("the last events of the agent could not be written down in time");
    }
    let complaint = match complaint {
        Some(complaint) => sink.redactor().tail(&bytes_of(complaint).await, COMPLAINT),
        None => Vec::new(),
    };
    let ended = match (ended, &stop) {
        (Ok(ended), _) => Some(ended),
        // We had enough of it anyway.
        (Err(_), Some(_)) => None,
        (Err(error), None) => return Err(error),
    };
    Ok(Evidence {
        stop,
        result: talk.result.take(),
        ended,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
        denied_calls: talk.denied,
    })
}

/// Reads the CLI's lines: every one becomes a frame, and all but those of the control protocol go to
/// `sink` as they are.
async fn read_all(
    stdout: Option<ChildStdout>,
    longest: u64,
    frames: mpsc::Sender<Frame>,
    sink: &dyn Sink,
) {
    let Some(stdout) = stdout else { return };
    let stdout = BufReader::with_capacity(64 * 1024, stdout);
    let mut lines = Lines::new(stdout, longest, sink.redactor());
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the agent's output could not be read");
                return;
            }
        };
        let frame = match &line {
            Line::Whole(line) => protocol::read(line),
            Line::Cut(_) => Frame::Event(Event::Other),
        };
        let is_event = matches!(frame, Frame::Event(_));
        // First, so that steering does not wait for the log.
        if frames.send(frame).await.is_err() {
            return;
        }
        if is_event {
            sink.append(line.bytes()).await;
        }
    }
}

/// Writes until the other side of the channel is dropped, which closes the pipe.
async fn write_all(stdin: Option<ChildStdin>, mut lines: mpsc::Receiver<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Reads standard error to its end and keeps the last `most` bytes of it.
async fn end_of(mut stderr: ChildStderr, most: usize) -> Vec<u8> {
    let mut kept = vec![];
    let mut buffer = [0; COMPLAINT];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        kept.extend(buffer.iter().take(length));
        let surplus = kept.len().saturating_sub(most);
        kept.drain(..surplus);
    }
    kept
}

/// What was kept. The agent may have handed its end of the pipe to a process that is not of its tree
/// and keeps it open, so nothing waits for its closing.
async fn bytes_of(mut complaint: JoinHandle<Vec<u8>>) -> Vec<u8> {
    match tokio::time::timeout(LAST_COMPLAINT, &mut complaint).await {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(_held) => {
            complaint.abort();
            tracing::warn!(
                "somebody outside of the agent's processes holds its standard error open"
            );
            Vec::new()
        }
    }
}
