use std::fmt;
use std::io::{self, BufRead, Read as _, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::{Approver, ApproverError, Ballot, CastError, Outcome, Posted, Question, message};
use crate::sync::lock;
use crate::{Decision, Keep};

/// Longer lines are read in pieces, and no piece is an answer.
const LINE_LIMIT: u64 = 1024;

const LONG: Duration = Duration::from_secs(8 * 3600);

const ENDED: &str = "the terminal's input has ended, so nobody can answer there";

/// Asks on the terminal, one question after the other.
///
/// Questions are written to the standard error stream and answers read from the standard input, unless other streams
/// are given. A line answers the question that was shown last; one that comes while none is shown counts for nothing.
/// When the input ends, open questions stay unanswered, which is a no. [`ask`](Approver::ask) returns once the question
/// is shown or stands in line behind another one.
pub struct TerminalApprover {
    streams: Mutex<Option<Streams>>,
    line: mpsc::UnboundedSender<Asked>,
    ended: watch::Receiver<bool>,
}

/// What the task that asks starts with.
struct Streams {
    reader: Box<dyn BufRead + Send>,
    writer: Box<dyn Write + Send>,
    asked: mpsc::UnboundedReceiver<Asked>,
    ended: watch::Sender<bool>,
}

struct Asked {
    question: Arc<Question>,
    ballot: Ballot,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl TerminalApprover {
    /// Asks on the standard streams.
    #[must_use]
    pub fn new() -> Self {
        Self::with_io(io::BufReader::new(io::stdin()), io::stderr())
    }

    /// Reads answers from `reader` and writes to `writer`.
    pub fn with_io(reader: impl BufRead + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        let (line, asked) = mpsc::unbounded_channel();
        let (ending, ended) = watch::channel(false);
        let streams = Streams { reader: Box::new(reader), writer: Box::new(writer), asked, ended: ending };
        Self { streams: Mutex::new(Some(streams)), line, ended }
    }

    /// Starts reading, with the first question.
    fn open(&self) -> Result<(), ApproverError> {
        let Some(Streams { reader, writer, asked, ended }) = lock(&self.streams).take() else { return Ok(()) };
        let (want, wanted) = blocking::channel();
        let (typed, lines) = mpsc::unbounded_channel();
        // a thread, since a read can't be given up
        let named = std::thread::Builder::new().name("terminal-approver".to_owned());
        named
            .spawn(move || read(reader, &wanted, &typed))
            .map_err(|_| ApproverError::unreachable("no thread could be started to read from the terminal"))?;
        let desk = Desk { writer, lines, want, reading: false };
        tokio::spawn(async move {
            desk.serve(asked).await;
            ended.send_replace(true);
        });
        Ok(())
    }

    fn is_open(&self) -> Result<(), ApproverError> {
        let gone = *self.ended.borrow();
        if gone { Err(ApproverError::unreachable(ENDED)) } else { Ok(()) }
    }
}

impl Default for TerminalApprover {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TerminalApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TerminalApprover(..)")
    }
}

#[async_trait]
impl Approver for TerminalApprover {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        message::plain(&question, None)?;
        self.open()?;
        self.is_open()?;
        let (shown, outcome) = watch::channel(None);
        let asked = Asked { question, ballot, outcome };
        self.line.send(asked).map_err(|_| ApproverError::unreachable(ENDED))?;
        Ok(Box::new(Shown(shown)))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        self.is_open()
    }
}

#[derive(Debug)]
struct Shown(watch::Sender<Option<Outcome>>);

impl Posted for Shown {
    fn show(&self, outcome: &Outcome) {
        self.0.send_replace(Some(outcome.clone()));
    }
}

/// Reads one line whenever one is wanted, so that lines typed ahead wait outside for their question.
fn read(mut reader: Box<dyn BufRead + Send>, wanted: &blocking::Receiver<()>, typed: &mpsc::UnboundedSender<String>) {
    while wanted.recv().is_ok() {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if typed.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

/// Where the questions come one after the other.
struct Desk {
    writer: Box<dyn Write + Send>,
    lines: mpsc::UnboundedReceiver<String>,
    want: blocking::Sender<()>,
    /// Whether a line is being waited for; that wait can outlive its question.
    reading: bool,
}

impl Desk {
    async fn serve(mut self, mut asked: mpsc::UnboundedReceiver<Asked>) {
        loop {
            tokio::select! {
                biased;
                next = asked.recv() => {
                    let Some(next) = next else { return };
                    if self.ask(next).await.is_break() {
                        self.say("end of input: open questions stay unanswered");
                        return;
                    }
                }
                line = self.lines.recv(), if self.reading => {
                    self.reading = false;
                    if line.is_none() {
                        self.say("end of input");
                        return;
                    }
                    self.say("no question is open, so that answer counts for nothing");
                }
            }
        }
    }

    /// Stays with one question until it is answered or ends; breaks when the input does.
    async fn ask(&mut self, mut asked: Asked) -> ControlFlow<()> {
        // it may have ended while it stood in line
        if asked.outcome.has_changed().unwrap_or(true) {
            return ControlFlow::Continue(());
        }
        let Ok(text) = message::plain(&asked.question, None) else { return ControlFlow::Continue(()) };
        self.say(&format!("\n{text}\n"));
        self.say(choices(&asked.question));
        loop {
            if !self.reading {
                self.reading = self.want.send(()).is_ok();
                if !self.reading {
                    return ControlFlow::Break(());
                }
            }
            tokio::select! {
                biased;
                changed = asked.outcome.changed() => {
                    let outcome = asked.outcome.borrow_and_update().clone();
                    match outcome {
                        Some(outcome) => self.say(&message::ending(&outcome)),
                        None if changed.is_err() => self.say("the question is no longer open"),
                        None => continue,
                    }
                    return ControlFlow::Continue(());
                }
                line = self.lines.recv() => {
                    self.reading = false;
                    let Some(line) = line else { return ControlFlow::Break(()) };
                    let Some(decision) = decision(line.trim(), &asked.question) else {
                        self.say(choices(&asked.question));
                        continue;
                    };
                    match asked.ballot.cast(decision).await {
                        Ok(outcome) => self.say(&message::ending(&outcome)),
                        Err(CastError::Ended(outcome)) => self.say(&message::ending(&outcome)),
                        Err(CastError::NotRecorded) => {
                            self.say("that could not be written to the audit log and does not count; answer again");
                            continue;
                        }
                        Err(error) => self.say(&error.to_string()),
                    }
                    return ControlFlow::Continue(());
                }
            }
        }
    }

    fn say(&mut self, text: &str) {
        // a terminal that is gone ends the input as well
        writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()).ok();
    }
}

const fn choices(question: &Question) -> &'static str {
    match question.intended_use {
        Some(_) => "[a]pprove, [o]nce, [8] hours, [d]eny:",
        None => "[a]pprove, [d]eny:",
    }
}

fn decision(answer: &str, question: &Question) -> Option<Decision> {
    const BY: &str = "terminal";
    let timed = question.intended_use.is_some();
    match answer.to_ascii_lowercase().as_str() {
        "a" | "approve" => Some(Decision::approve(BY)),
        "o" | "once" if timed => Some(Decision::approve_for(BY, Keep::Once)),
        "8" if timed => Some(Decision::approve_for(BY, Keep::For(LONG))),
        "d" | "deny" => Some(Decision::deny(BY)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
