use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Read as _, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::{Approver, ApproverError, Ballot, CastError, Outcome, Posted, Question, message};
use crate::sync::lock;
use crate::{Decision, Keep, RequestId};

/// A longer line, its end included, is no answer.
const LINE_LIMIT: u64 = 1024;

/// Lines that were read and not looked at; more wait outside.
const LINES_AHEAD: usize = 16;

/// Characters of the request's id that an approval must repeat.
const CODE_LENGTH: usize = 4;

/// Questions shown before whose codes are not used again.
const CODES_REMEMBERED: usize = 64;

const LONG: Duration = Duration::from_secs(8 * 3600);

const BY: &str = "terminal";

const BY_END: &str = "terminal (input ended)";

const ENDED: &str = "the terminal's input has ended, so nobody can answer there";

/// Asks on the terminal, one question after the other.
///
/// Questions are written to the standard error stream and answers read from the standard input, unless other streams
/// are given. An approval repeats the code that its question was shown with, such as `a 97f0` with the end of the
/// request's id, so that what was typed before a question was shown, or while another one took its place, never
/// approves it. `d` alone denies the question that is shown. Only a line that ends with Enter is an answer; one that
/// comes while no question is shown counts for nothing. When the input ends, the question that is shown and those
/// behind it are denied. [`ask`](Approver::ask) returns once the question is shown or stands in line behind another one.
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
        let (typed, lines) = mpsc::channel(LINES_AHEAD);
        // a thread, since a read can't be given up
        let named = std::thread::Builder::new().name("terminal-approver".to_owned());
        named
            .spawn(move || read(reader, &typed))
            .map_err(|_| ApproverError::unreachable("no thread could be started to read from the terminal"))?;
        let desk = Desk { writer, lines, shown: VecDeque::new() };
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
        self.is_open()?;
        let (shown, outcome) = watch::channel(None);
        let asked = Asked { question, ballot, outcome };
        self.line.send(asked).map_err(|_| ApproverError::unreachable(ENDED))?;
        // after the question stands in line, so that an input that has ended already denies it
        self.open()?;
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

/// Reads all the time, so that a line typed ahead does not wait for the question that it was not meant for.
fn read(mut reader: Box<dyn BufRead + Send>, typed: &mpsc::Sender<String>) {
    while let Some(line) = next_line(&mut reader) {
        if typed.blocking_send(line).is_err() {
            return;
        }
    }
}

/// The next whole line; an over-long one as an empty line, which is no answer. `None` at the end of the input, even in
/// the middle of a line: who did not press Enter has not answered.
fn next_line(reader: &mut dyn BufRead) -> Option<String> {
    let mut is_long = false;
    loop {
        let mut line = Vec::new();
        reader.take(LINE_LIMIT).read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
        match line.strip_suffix(b"\n") {
            Some(_) if is_long => return Some(String::new()),
            Some(line) => return Some(String::from_utf8_lossy(line).into_owned()),
            None => is_long = true,
        }
    }
}

/// Where the questions come one after the other.
struct Desk {
    writer: Box<dyn Write + Send>,
    lines: mpsc::Receiver<String>,
    /// The questions that were shown, the latest last.
    shown: VecDeque<RequestId>,
}

impl Desk {
    async fn serve(mut self, mut asked: mpsc::UnboundedReceiver<Asked>) {
        loop {
            tokio::select! {
                biased;
                next = asked.recv() => {
                    let Some(next) = next else { return };
                    if self.ask(next).await.is_break() {
                        break;
                    }
                }
                line = self.lines.recv() => {
                    if line.is_none() {
                        break;
                    }
                    self.say("no question is shown, so that answer counts for nothing");
                }
            }
        }
        self.say("end of input: what is still asked is denied");
        asked.close();
        while let Some(next) = asked.recv().await {
            deny_at_end(&next).await;
        }
    }

    /// Stays with one question until it is answered or ends; breaks when the input does.
    async fn ask(&mut self, mut asked: Asked) -> ControlFlow<()> {
        // it may have ended while it stood in line
        if asked.outcome.has_changed().unwrap_or(true) {
            return ControlFlow::Continue(());
        }
        let Ok(text) = message::plain(&asked.question, None) else { return ControlFlow::Continue(()) };
        self.drop_lines();
        let code = self.code(&asked.question.id);
        let choices = choices(&asked.question, &code);
        self.say(&format!("\n{text}\n"));
        self.say(&choices);
        loop {
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
                    let Some(line) = line else {
                        deny_at_end(&asked).await;
                        return ControlFlow::Break(());
                    };
                    let Some(decision) = decision(&line, &asked.question, &code) else {
                        self.say("that is no answer to this question");
                        self.say(&choices);
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

    /// Passes over what was typed before the question that is shown next. What comes at this moment may be left, so it
    /// takes a code to approve.
    fn drop_lines(&mut self) {
        let waiting = self.lines.len();
        for _ in 0..waiting {
            self.lines.try_recv().ok();
        }
        if waiting > 0 {
            self.say("what was typed before the question counts for nothing");
        }
    }

    /// The end of the id, as much of it as no earlier question ends with: a requester that asks again and again must
    /// not find a question that the answer to another one fits.
    fn code(&mut self, id: &RequestId) -> String {
        let text = id.as_str();
        let is_new = |code: &&str| !self.shown.iter().any(|earlier| earlier.as_str().ends_with(code));
        let ends = text.char_indices().rev().skip(CODE_LENGTH - 1).filter_map(|(at, _)| text.get(at..));
        let code = ends.into_iter().find(is_new).unwrap_or(text).to_owned();
        self.shown.push_back(id.clone());
        if self.shown.len() > CODES_REMEMBERED {
            self.shown.pop_front();
        }
        code
    }

    fn say(&mut self, text: &str) {
        // a terminal that is gone ends the input as well
        writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()).ok();
    }
}

async fn deny_at_end(asked: &Asked) {
    // one that does not count has ended by itself, or stays open until it does
    asked.ballot.cast(Decision::deny(BY_END)).await.ok();
}

fn choices(question: &Question, code: &str) -> String {
    match question.intended_use {
        Some(_) => format!("[a {code}] approve, [o {code}] once, [8 {code}] 8 hours, [d] deny; then Enter:"),
        None => format!("[a {code}] approve, [d] deny; then Enter:"),
    }
}

/// What a line decides about the question that is shown with this code.
fn decision(line: &str, question: &Question, code: &str) -> Option<Decision> {
    let timed = question.intended_use.is_some();
    let mut words = line.split_whitespace();
    let answer = words.next()?.to_ascii_lowercase();
    let named = words.next();
    if words.next().is_some() || named.is_some_and(|named| !named.eq_ignore_ascii_case(code)) {
        return None;
    }
    match (answer.as_str(), named) {
        ("d" | "deny", _) => Some(Decision::deny(BY)),
        ("a" | "approve", Some(_)) => Some(Decision::approve(BY)),
        ("o" | "once", Some(_)) if timed => Some(Decision::approve_for(BY, Keep::Once)),
        ("8", Some(_)) if timed => Some(Decision::approve_for(BY, Keep::For(LONG))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
