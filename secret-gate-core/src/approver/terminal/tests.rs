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

/// The answers reach the questions one by one, as each is shown.
#[tokio::test]
async fn each_answer_says_what_it_says() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let cases = [
        ("what?\na 0001\n", Decision::approve(BY)),
        ("ONCE 0002\n", Decision::approve_for(BY, Keep::Once)),
        (" 8  0003 \r\n", Decision::approve_for(BY, Keep::For(LONG))),
        ("d\n", Decision::deny(BY)),
        ("deny 0005\n", Decision::deny(BY)),
    ];
    for (count, (keyed, decision)) in cases.into_iter().enumerate() {
        let id = format!("97f0000{}", count + 1);
        let _posted = approver.ask(Arc::new(question(&id)), ballots.ballot(&id)).await.unwrap();
        screen.wait(&format!("[a 000{}] approve", count + 1)).await;
        keys.send(keyed).unwrap();
        assert_eq!(ballots.decisions(count + 1).await[count], decision);
    }
}

#[tokio::test]
async fn what_is_typed_ahead_approves_nothing() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    keys.send("a\na\n8\no\na first\napprove a\na irst irst\nirst\n").unwrap();
    let _first = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    let _second = approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap();
    screen.wait("[a irst] approve").await;
    keys.send("o irst\na irst\na\n").unwrap();
    screen.wait("[a cond] approve").await;
    keys.send("d cond\n").unwrap();
    assert_eq!(ballots.decisions(2).await, [Decision::approve_for(BY, Keep::Once), Decision::deny(BY)]);
}

#[tokio::test]
async fn an_answer_to_a_question_that_ended_does_not_fit_the_next_one() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let first = approver.ask(Arc::new(question("1111-97f0")), ballots.ballot("1111-97f0")).await.unwrap();
    // even where the requester found one with the same end
    let second = approver.ask(Arc::new(question("2222-97f0")), ballots.ballot("2222-97f0")).await.unwrap();
    let _third = approver.ask(Arc::new(question("third")), ballots.ballot("third")).await.unwrap();
    screen.wait("[a 97f0] approve").await;
    first.show(&Outcome::Withdrawn);
    screen.wait("Withdrawn").await;
    screen.wait("[a 2-97f0] approve").await;
    keys.send("a 97f0\n").unwrap();
    screen.wait("no answer to this question").await;
    drop(second);
    screen.wait("no longer open").await;
    screen.wait("[a hird] approve").await;
    keys.send("a 2-97f0\na\nd\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::deny(BY)]);
}

#[tokio::test]
async fn a_line_without_a_question_counts_for_nothing() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let first = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    screen.wait("request first").await;
    first.show(&Outcome::Withdrawn);
    screen.wait("Withdrawn").await;
    keys.send("d\n").unwrap();
    screen.wait("counts for nothing").await;
    let _second = approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap();
    screen.wait("request second").await;
    keys.send("a cond\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::approve(BY)]);
}

#[tokio::test]
async fn pieces_of_lines_are_no_answers() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    screen.wait("request first").await;
    // the piece after the limit would be an answer, and so would the one before it
    for start in ["", "d"] {
        let filled = usize::try_from(LINE_LIMIT).unwrap() - start.len();
        keys.send(format!("{start}{}a irst\n", " ".repeat(filled)).leak()).unwrap();
    }
    keys.send(format!("a irst{}\n", " ".repeat(5000)).leak()).unwrap();
    keys.send("a irst").unwrap();
    drop(keys);
    assert_eq!(ballots.decisions(1).await, [Decision::deny(BY_END)]);
    assert_eq!(screen.0.borrow().matches("no answer to this question").count(), 3);
}

#[tokio::test]
async fn the_end_of_input_denies_what_is_asked() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    let _next = approver.ask(Arc::new(question("second")), ballots.ballot("second")).await.unwrap();
    screen.wait("request first").await;
    drop(keys);
    let denied = Decision::deny(BY_END);
    assert_eq!(ballots.decisions(2).await, [denied.clone(), denied]);
    screen.wait("end of input").await;
    let mut ended = approver.ended.clone();
    ended.wait_for(|ended| *ended).await.unwrap();
    assert!(approver.check().await.is_err());
    approver.ask(Arc::new(question("third")), ballots.ballot("third")).await.unwrap_err();
    assert_eq!(ballots.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_ended_before_denies_the_first_question() {
    for _ in 0..50 {
        let approver = TerminalApprover::with_io(io::empty(), io::sink());
        let ballots = FirstCounts::new();
        let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
        assert_eq!(ballots.decisions(1).await, [Decision::deny(BY_END)]);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_recorded_is_asked_for_again() {
    let (approver, keys, screen) = terminal();
    let ballots = FirstCounts::new();
    ballots.fail_next(CastError::NotRecorded);
    let _open = approver.ask(Arc::new(question("first")), ballots.ballot("first")).await.unwrap();
    screen.wait("request first").await;
    keys.send("a irst\n").unwrap();
    screen.wait("answer again").await;
    assert_eq!(ballots.count(), 0);
    keys.send("a irst\n").unwrap();
    assert_eq!(ballots.decisions(1).await, [Decision::approve(BY)]);
}
