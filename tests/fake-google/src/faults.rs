//! What goes wrong, and in which call.

use std::time::Duration;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this HTTP status (gRPC: the code that stands for it), nothing is done. 412, which only
    /// storage says over HTTP, is 400 with FAILED_PRECONDITION elsewhere.
    Status(u16),
    /// The connection ends before anything is done.
    Reset,
    /// It is done, and the connection ends instead of the answer.
    LostReply,
    /// It is done, and the answer's body ends after so many bytes.
    BrokenStream(usize),
    /// It is done, and after so many bytes of the answer's body nothing comes any more.
    Silence(usize),
    /// It is done, and a checksum of the answer is not that of its content. Where the answer has none,
    /// nothing happens.
    WrongChecksum,
    /// It is done, and the answer says that the checksums of the request were not seen. Where the answer
    /// says nothing of them, nothing happens.
    Unverified,
    /// It is done after this time.
    Delay(Duration),
}

#[derive(Clone, Debug)]
struct Rule {
    operation: String,
    every: bool,
    n: u64,
    seen: u64,
    fault: Fault,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    pub(crate) latency: Duration,
    pub(crate) injected: u64,
}

impl Faults {
    pub(crate) fn nth(&mut self, operation: &str, n: u64, fault: Fault) {
        self.add(operation, n, fault, false);
    }

    pub(crate) fn every(&mut self, operation: &str, n: u64, fault: Fault) {
        self.add(operation, n, fault, true);
    }

    fn add(&mut self, operation: &str, n: u64, fault: Fault, every: bool) {
        self.rules.push(Rule {
            operation: operation.to_owned(),
            every,
            n: n.max(1),
            seen: 0,
            fault,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Counts a call; the fault of the first rule whose turn it is.
    pub(crate) fn of(&mut self, operation: &str) -> Option<Fault> {
        let mut fault = None;
        for rule in &mut self.rules {
            if !operation.starts_with(&rule.operation) {
                continue;
            }
            rule.seen += 1;
            let its_turn = if rule.every {
                rule.seen % rule.n == 0
            } else {
                rule.seen == rule.n
            };
            if its_turn && fault.is_none() {
                fault = Some(rule.fault);
            }
        }
        self.injected += u64::from(fault.is_some());
        fault
    }
}
