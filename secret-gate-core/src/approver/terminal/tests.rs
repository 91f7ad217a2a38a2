use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::testing::{FirstCounts, question};
use super::*;

/// A terminal whose person types when the test says so.
struct Keys(Receiver<&'static str>, Vec<u8>);

impl io::Read for Keys {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().map(|line| line.as_bytes().to_vec()).unwrap_or_default();
        }
        let count = self.1.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

#[derive(Clone, Default)]
struct Screen(Arc<watch::Sender<String>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    async fn wait(&self, words: &str) {
        let mut screen = self.0.subscribe();
        let wait = screen.wait_for(|text| text.contains(words));
        if tokio::time::timeout(Duration::from_secs(10), wait).await.is_err() {
            panic!("no {words:?} in {}", *self.0.borrow());
        }
    }
}

fn terminal() -> (TerminalApprover, Sender<&'static str>, Screen) {
    let (keys, typed) = channel();
    let screen = Screen::default();
    (TerminalApprover::with_io(io::BufReader::new(Keys(typed, Vec::new())), screen.clone()), keys, screen)
}

#[tokio::test]
async fn answers_go_to_the_questions_in_turn() {
    let answers = b"what?\na\nOnce\n8\nd\n".as_slice();
    let approver = TerminalApprover::with_io(answers, io::sink());
    let ballots = FirstCounts::new();
    let mut posted = Vec::new();
    for id in ["1", "2", "3", "4"] {
        posted.push(approver.ask(Arc::new(question(id)), ballots.ballot(id)).await.unwrap());
    }
    let by = "terminal";
    let expected = [
        Decision::approve(by),
        Decision::approve_for(by, Keep::Once),
        Decision::approve_for(by, Keep::For(LONG)),
        Decision::deny(by),
    ];
    assert_eq!(ballots.decisions(4).await, expected);
}

#[tokio::test]
async fn a_question_that_ends_leaves_the_next_answer_to_the_next_question() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let first = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    let second = approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap();
    let _third = approver.ask(Arc::new(question("third")), ballots.ballot("third")).await.unwrap();
    screen.wait("request first").await;
    first.show(&Outcome::Withdrawn);
    screen.wait("Withdrawn").await;
    screen.wait("request second").await;
    drop(second);
    screen.wait("no longer open").await;
    screen.wait("request third").await;
    keys.send("a\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::approve("terminal")]);
}

#[tokio::test]
async fn a_line_without_a_question_counts_for_nothing() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let first = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    screen.wait("request first").await;
    first.show(&Outcome::Withdrawn);
    screen.wait("Withdrawn").await;
    keys.send("a\n").unwrap();
    screen.wait("counts for nothing").await;
    let _second = approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap();
    screen.wait("request second").await;
    keys.send("d\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::deny("terminal")]);
}

#[tokio::test]
async fn the_end_of_input_answers_nothing() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    drop(keys);
    screen.wait("stay unanswered").await;
    let mut ended = approver.ended.clone();
    ended.wait_for(|ended| *ended).await.unwrap();
    assert!(approver.check().await.is_err());
    approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap_err();
    assert_eq!(ballots.count(), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_recorded_is_asked_for_again() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    ballots.fail_next(CastError::NotRecorded);
    let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    keys.send("a\n").unwrap();
    screen.wait("answer again").await;
    assert_eq!(ballots.count(), 0);
    keys.send("a\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::approve("terminal")]);
}
