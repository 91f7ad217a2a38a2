//! Where log lines go: those about answered calls together with what comes soon after them, all others at once.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// How long a line about an answered call may wait for others.
const PATIENCE: Duration = Duration::from_millis(10);

/// How many bytes may wait.
const MAX_WAITING: usize = 16 * 1024;

/// Lines in the order in which they were written. A call that is answered costs no system call of its own here; whatever
/// else is said, and all that waits before it, is out once it was written.
pub(super) struct Lines<W>(Arc<Shared<W>>);

struct Shared<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W> {
    sink: W,
    waiting: Vec<u8>,
    /// Whether a thread writes what waits; without one nothing waits.
    is_served: bool,
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Into `sink`. The thread that writes what waits ends with [`end`](Self::end).
    pub(super) fn new(sink: W) -> Self {
        let state = Mutex::new(State { sink, waiting: Vec::new(), is_served: false });
        let lines = Self(Arc::new(Shared { state, changed: Condvar::new() }));
        let shared = Arc::clone(&lines.0);
        let mut state = shared.lock();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || serving.serve());
        // where there is no thread to be had, lines go out one by one
        state.is_served = thread.is_ok();
        drop(state);
        lines
    }

    /// Writes what waits; from now on nothing does.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.is_served = false;
        // nobody is left to be told
        state.write_out().ok();
        self.0.changed.notify_all();
    }
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Shared<W> {
    fn serve(&self) {
        let mut state = self.lock();
        while state.is_served {
            if state.waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            std::thread::sleep(PATIENCE);
            state = self.lock();
            // nobody is left to be told
            state.write_out().ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> State<W> {
    fn write_out(&mut self) -> io::Result<()> {
        let written = self.sink.write_all(&self.waiting);
        self.waiting.clear();
        written.and_then(|()| self.sink.flush())
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        Line { shared: &self.0, may_wait: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a, W> {
        Line { shared: &self.0, may_wait: metadata.target() == super::answered::TARGET }
    }
}

/// Takes one line.
pub(super) struct Line<'a, W> {
    shared: &'a Shared<W>,
    may_wait: bool,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(bytes);
        if self.may_wait && state.is_served && state.waiting.len() < MAX_WAITING {
            drop(state);
            if is_first {
                self.shared.changed.notify_one();
            }
        } else {
            state.write_out()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells what is written, write by write.
    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines<Told>, Receiver<Vec<u8>>) {
        let (told, heard) = channel();
        (Lines::new(Told(told)), heard)
    }

    fn say(lines: &Lines<Told>, may_wait: bool, text: &str) {
        Line { shared: &lines.0, may_wait }.write_all(text.as_bytes()).unwrap();
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_line_that_waits_comes_by_itself() {
        let (lines, heard) = lines();
        for text in ["1\n", "2\n"] {
            say(&lines, true, text);
            assert_eq!(heard.recv_timeout(LONG).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn another_line_is_out_at_once_after_those_that_wait() {
        let (lines, heard) = lines();
        for round in 0..100 {
            let texts = [1, 2, 3].map(|part| format!("{round}.{part}\n"));
            say(&lines, true, &texts[0]);
            say(&lines, true, &texts[1]);
            say(&lines, false, &texts[2]);
            let written: Vec<u8> = heard.try_iter().flatten().collect();
            assert_eq!(String::from_utf8(written).unwrap(), texts.concat());
        }
    }

    #[test]
    fn no_more_waits_than_may() {
        let (lines, heard) = lines();
        let long = "x".repeat(MAX_WAITING);
        say(&lines, true, &long);
        assert_eq!(heard.try_iter().flatten().count(), MAX_WAITING);
    }

    #[test]
    fn nothing_is_left_at_the_end() {
        let (lines, heard) = lines();
        say(&lines, true, "before\n");
        lines.end();
        say(&lines, true, "after\n");
        assert_eq!(heard.try_iter().flatten().collect::<Vec<_>>(), b"before\nafter\n");
    }
}
