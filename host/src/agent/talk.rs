//! The conversation with the CLI: what to answer to what it says, and by when it must speak.
//!
//! Holds no process and no pipe: frames go in, lines to write come out, so that it can be tested
//! without either.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::mcp::Servers;
use super::outcome::Stop;
use super::protocol::{self, Call, Event, Frame, INITIALIZE, Question, SERVERS, TurnResult};
use super::{AgentTask, Gate, GateAnswer, Reply};
use crate::plugin::{RealPath, ToolCall};

/// Lines that wait to be written. The CLI reads eagerly; one that does not is broken.
pub(super) const MOST_UNWRITTEN: usize = 1024;
/// Calls that are being decided at once; while there are more, nothing is read.
const MOST_UNDECIDED: usize = 256;
/// After an interrupt the CLI ends its turn within a tenth of a second, or never.
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(2);

/// What must happen at a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The run is to be ended.
    Stop(Stop),
    /// No further turn came: the input is to be closed.
    Close,
    /// The CLI is to be asked how its MCP servers stand.
    AskAboutServers,
    /// Those that have not come up by now have failed.
    GiveUpServers,
}

/// One run's conversation.
pub(super) struct Talk<'a> {
    task: &'a AgentTask,
    workspace: PathBuf,
    gate: &'a dyn Gate,
    /// Set while MCP servers start and the task waits for them.
    servers: Option<Servers>,
    /// Lines of ours for the event log.
    pub(super) notes: Vec<Value>,
    /// None once our side is closed.
    lines: Option<mpsc::Sender<Vec<u8>>>,
    undecided: FuturesUnordered<BoxFuture<'a, (String, Reply)>>,
    /// Calls that somebody else is asked about; the gate bounds them.
    parked: FuturesUnordered<BoxFuture<'static, (String, GateAnswer)>>,
    /// Calls asked about.
    calls: u32,
    pub(super) denied: u32,
    pub(super) result: Option<TurnResult>,
    background_tasks: usize,
    started: Instant,
    /// Events are waited for from then on.
    handed_over: Instant,
    /// Of any line.
    last_line: Instant,
    seen_event: bool,
    /// Since then nothing but a further turn is waited for.
    settled: Option<Instant>,
    interrupted: Option<Instant>,
}

impl<'a> Talk<'a> {
    /// Opens the conversation; `lines` go to the CLI's standard input, which closes with them.
    pub(super) fn open(
        task: &'a AgentTask,
        workspace: PathBuf,
        gate: &'a dyn Gate,
        lines: mpsc::Sender<Vec<u8>>,
    ) -> Self {
        let now = Instant::now();
        let mut talk = Self {
            task,
            workspace,
            gate,
            servers: None,
            notes: Vec::new(),
            lines: Some(lines),
            undecided: FuturesUnordered::new(),
            parked: FuturesUnordered::new(),
            calls: 0,
            denied: 0,
            result: None,
            background_tasks: 0,
            started: now,
            handed_over: now,
            last_line: now,
            seen_event: false,
            settled: None,
            interrupted: None,
        };
        // The channel is empty, so this is taken.
        let _ = talk.write(protocol::initialize(task));
        talk
    }

    /// Whether a further frame may be read.
    pub(super) fn has_room(&self) -> bool {
        self.undecided.len() < MOST_UNDECIDED
    }

    /// Whether [`Talk::decided`] has something to wait for.
    pub(super) fn is_deciding(&self) -> bool {
        !self.undecided.is_empty() || !self.parked.is_empty()
    }

    /// Takes in what the CLI said.
    pub(super) fn hear(&mut self, frame: Frame) -> Result<(), Stop> {
        self.last_line = Instant::now();
        match frame {
            Frame::Asked { id, question } => self.asked(id, question),
            Frame::Answered { id, answer } if id == INITIALIZE => match answer {
                Ok(answer) => match protocol::missing_gate(&answer) {
                    None => self.wait_for_servers(),
                    Some(why) => Err(Stop::NoGate(why.to_owned())),
                },
                Err(_) => Err(Stop::NoGate(
                    "the CLI refused the hook that guards its tools".to_owned(),
                )),
            },
            Frame::Answered { id, answer } if id == SERVERS => {
                let answer = answer.unwrap_or_default();
                match self.servers.as_mut().map(|servers| servers.hear(&answer)) {
                    Some(true) => self.give_up_servers(),
                    _ => Ok(()),
                }
            }
            Frame::Answered { .. } | Frame::Aside => Ok(()),
            Frame::Event(event) => {
                self.seen_event = true;
                self.event(event);
                Ok(())
            }
        }
    }

    fn wait_for_servers(&mut self) -> Result<(), Stop> {
        self.servers = Servers::of(self.task);
        if self.servers.is_some() {
            return Ok(());
        }
        self.hand_over()
    }

    /// Asks the CLI how its MCP servers stand.
    pub(super) fn ask_about_servers(&mut self) -> Result<(), Stop> {
        if let Some(servers) = &mut self.servers {
            servers.ask_at = None;
        }
        self.write(protocol::ask_about_servers())
    }

    /// Waits for no server any longer: hands the task over, unless one that must be there is not.
    pub(super) fn give_up_servers(&mut self) -> Result<(), Stop> {
        let Some(servers) = self.servers.take() else {
            return Ok(());
        };
        let (notes, missing) = servers.failed();
        self.notes = notes;
        match missing {
            Some((server, why)) => Err(Stop::NoServer { server, why }),
            None => self.hand_over(),
        }
    }

    fn hand_over(&mut self) -> Result<(), Stop> {
        self.handed_over = Instant::now();
        self.write(protocol::user_message(&self.task.prompt))
    }

    fn asked(&mut self, id: String, question: Question) -> Result<(), Stop> {
        match question {
            Question::Call(call) => {
                let call = self.tool_call(*call);
                self.undecided.push(decide(
                    self.gate,
                    call,
                    id,
                    self.task.limits.decision_timeout,
                ));
                Ok(())
            }
            Question::UnreadableCall => {
                self.denied += 1;
                let why = "The call could not be read, so the policy could not be asked about it.";
                self.write(protocol::decision(&id, &GateAnswer::Deny(why.to_owned())))
            }
            Question::Approval { tool } => {
                self.denied += 1;
                self.write(protocol::no_approval(&id, &tool))
            }
            Question::Unknown { what } => {
                tracing::warn!(what, "the CLI asked something that is not known");
                self.write(protocol::error(&id, &what))
            }
        }
    }

    fn tool_call(&mut self, call: Call) -> ToolCall {
        let index = self.calls;
        self.calls = self.calls.saturating_add(1);
        ToolCall {
            id: call.id,
            tool: call.tool,
            input: call.input,
            workspace: self.workspace.clone(),
            cwd: call
                .cwd
                .map_or_else(|| self.task.cwd.clone(), PathBuf::from),
            subagent: call.subagent,
            mcp_server: call.mcp_server.map(|server| server.name),
            index,
            real: RealPath::Now,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Result(result) => {
                self.result = Some(*result);
                // A subagent in the background brings about another turn.
                if self.background_tasks == 0 || self.interrupted.is_some() {
                    self.close();
                }
                self.settled = (self.background_tasks == 0).then_some(self.last_line);
            }
            Event::BackgroundTasks(count) => {
                self.background_tasks = count;
                if self.result.is_some() {
                    self.settled = (count == 0).then_some(self.last_line);
                }
            }
            // A further turn is under way.
            Event::Other => self.settled = self.settled.map(|_| self.last_line),
        }
    }

    /// The next decision that was made, once it has been handed to the CLI.
    pub(super) async fn decided(&mut self) -> Result<(), Stop> {
        tokio::select! {
            Some((id, reply)) = self.undecided.next() => match reply {
                Reply::Now(answer) => self.answer(&id, &answer),
                Reply::Parked(waiting) => {
                    let limits = &self.task.limits;
                    let limit = self.task.approval_timeout + limits.decision_timeout;
                    self.parked.push(wait(waiting, id, limit));
                    Ok(())
                }
            },
            Some((id, answer)) = self.parked.next() => {
                // The CLI has waited for us; its silence begins now.
                self.last_line = Instant::now();
                self.answer(&id, &answer)
            }
            else => Ok(()),
        }
    }

    fn answer(&mut self, id: &str, answer: &GateAnswer) -> Result<(), Stop> {
        if matches!(answer, GateAnswer::Deny(_)) {
            self.denied += 1;
        }
        self.write(protocol::decision(id, answer))
    }

    /// Asks the CLI to drop what it does; its turn's end or a short time later, the run ends.
    pub(super) fn interrupt(&mut self) -> Result<(), Stop> {
        self.interrupted = Some(Instant::now());
        // One of before says nothing about this turn.
        self.result = None;
        self.write(protocol::interrupt())
            .map_err(|_| Stop::Cancelled)
    }

    /// Whether an interrupt was asked for.
    pub(super) fn was_interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// Whether the interrupt took effect.
    pub(super) fn turn_was_interrupted(&self) -> bool {
        self.interrupted.is_some() && self.result.is_some()
    }

    /// Takes in what came too late to be answered.
    pub(super) fn note(&mut self, frame: Frame) {
        if let Frame::Event(event) = frame {
            self.event(event);
        }
    }

    /// Closes the CLI's input: it ends after its turn, and blocks every call that we no longer answer.
    pub(super) fn close(&mut self) {
        self.lines = None;
    }

    /// What must happen next if the CLI says nothing, and when. Silence is silence, whatever it is for:
    /// a command that runs long without output, a decision of the gate, a slow model. Only while a call
    /// is parked the CLI cannot be expected to speak: that time has a limit of its own.
    pub(super) fn due(&self) -> (Instant, Due) {
        let limits = &self.task.limits;
        let stop = |at: Instant, stop| (at, Due::Stop(stop));
        let total = stop(self.started + self.task.total, Stop::Total(self.task.total));
        let next = if let Some(at) = self.interrupted {
            stop(at + INTERRUPT_PATIENCE, Stop::Cancelled)
        } else if let Some(at) = self.settled {
            let at = at + limits.after_result_timeout;
            match self.lines {
                Some(_) => (at, Due::Close),
                None => stop(at, Stop::NoExit(limits.after_result_timeout)),
            }
        } else if let Some(servers) = &self.servers {
            match servers.ask_at {
                Some(at) if at < servers.give_up_at => (at, Due::AskAboutServers),
                _ => (servers.give_up_at, Due::GiveUpServers),
            }
        } else if !self.parked.is_empty() {
            return total;
        } else if self.seen_event {
            stop(
                self.last_line + limits.idle_timeout,
                Stop::Idle(limits.idle_timeout),
            )
        } else {
            stop(
                self.handed_over + limits.first_event_timeout,
                Stop::NoFirstEvent(limits.first_event_timeout),
            )
        };
        if next.0 <= total.0 { next } else { total }
    }

    /// This process was stopped from `since` on for so long. The CLI may have spoken, or waited for us, so
    /// nothing of that time counts as its silence; what a task may take in all is another matter.
    pub(super) fn excuse(&mut self, since: Instant, absence: Duration) {
        // What was heard after it is as late as it is.
        let later = |at: Instant| if at <= since { at + absence } else { at };
        self.handed_over = later(self.handed_over);
        if let Some(servers) = &mut self.servers {
            servers.give_up_at += absence;
        }
        self.last_line = later(self.last_line);
        self.settled = self.settled.map(later);
        self.interrupted = self.interrupted.map(later);
    }

    /// The input is to be closed although the CLI did not say that it is done.
    pub(super) fn close_now(&mut self) {
        self.close();
        self.settled = Some(Instant::now());
    }

    fn write(&mut self, line: Vec<u8>) -> Result<(), Stop> {
        match self.lines.as_ref().map(|lines| lines.try_send(line)) {
            // A closed pipe: the CLI is gone or our side is closed, and how it ended tells the rest.
            None | Some(Ok(()) | Err(mpsc::error::TrySendError::Closed(_))) => Ok(()),
            Some(Err(mpsc::error::TrySendError::Full(_))) => Err(Stop::Confused(
                "the agent asks and does not read the answers",
            )),
        }
    }
}

/// Asks the gate. Time-outs and faults are denials.
fn decide<'a>(
    gate: &'a dyn Gate,
    call: ToolCall,
    id: String,
    limit: Duration,
) -> BoxFuture<'a, (String, Reply)> {
    let decision = AssertUnwindSafe(tokio::time::timeout(limit, gate.decide(call))).catch_unwind();
    let reply = decision.map(|decision| match decision {
        Ok(Ok(Reply::Now(answer))) => protocol::readable(answer).into(),
        Ok(Ok(parked)) => parked,
        Ok(Err(_)) => GateAnswer::Deny("The policy did not decide in time.".to_owned()).into(),
        Err(_) => GateAnswer::Deny("The policy failed.".to_owned()).into(),
    });
    reply.map(|reply| (id, reply)).boxed()
}

/// Waits for the answer about a parked call. Time-outs and faults are denials.
fn wait(
    waiting: BoxFuture<'static, GateAnswer>,
    id: String,
    limit: Duration,
) -> BoxFuture<'static, (String, GateAnswer)> {
    let answer = AssertUnwindSafe(tokio::time::timeout(limit, waiting)).catch_unwind();
    let answer = answer.map(|answer| match answer {
        Ok(Ok(answer)) => protocol::readable(answer),
        Ok(Err(_)) => GateAnswer::Deny("Nobody decided in time.".to_owned()),
        Err(_) => GateAnswer::Deny("The policy failed.".to_owned()),
    });
    answer.map(|answer| (id, answer)).boxed()
}

#[cfg(test)]
mod tests;
