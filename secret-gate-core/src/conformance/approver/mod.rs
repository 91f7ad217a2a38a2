//! What every [`Approver`] must do.
//!
//! Each rule takes the approver, a [`Hand`] that answers its questions as a human would, and [`Differences`]. The suite
//! plays the gate: it puts questions, counts decisions and shows endings.
//!
//! ```
//! use async_trait::async_trait;
//! use secret_gate_core::conformance::approver::{self, Answer, Differences, Hand};
//! use secret_gate_core::{DenyAll, Question};
//!
//! /// Nobody can answer for an approver that decides by itself.
//! struct Nobody;
//!
//! #[async_trait]
//! impl Hand for Nobody {
//!     async fn answer(&self, _question: &Question, _answer: Answer) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let differences = Differences::none().decides_alone().never_approves().shows_any_length().shows_nothing();
//! approver::all(&DenyAll, &Nobody, &differences).await;
//! # }
//! ```

#![expect(clippy::missing_panics_doc, reason = "a suite fails the test that calls it")]

mod scene;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::FutureExt as _;

use super::wait::{PATIENCE, within};
use crate::approver::{Approval, CastError};
use crate::{Approver, Decision, Outcome, Question, Use, Verdict};

use scene::{Ballots, Scene, question, titled};

/// How long the suite listens for what must not happen, since nothing tells of that.
const QUIET: Duration = Duration::from_millis(100);

/// How long the human says nothing, until a question's time is over: longer than an approver may take that goes on by
/// itself.
const SILENCE: Duration = Duration::from_secs(3);

/// Plays the human in front of an approver.
#[async_trait]
pub trait Hand: Send + Sync {
    /// Tells what the answer to the next question will be, before that question is put. For approvers that decide while
    /// they are asked; does nothing by default.
    async fn prepare(&self, _answer: Answer) {}

    /// Whether the human could answer this question now. Called as soon as `ask` has returned; must not wait. Yes by
    /// default, for hands that can't tell.
    fn sees(&self, _question: &Question) -> bool {
        true
    }

    /// What the human reads of this question, without markup and with no word broken; waits until it is there. There may be more than that, such
    /// as what was shown before. None by default, for approvers that show nothing, which is a difference to declare.
    async fn shown(&self, _question: &Question) -> Option<String> {
        None
    }

    /// Answers a question, however that is done for this approver: presses a button, types a line. Called after the
    /// question was put, and for some rules twice; whether the answer counts is not the hand's business. A hand that had
    /// its say in [`prepare`](Self::prepare) does nothing here.
    async fn answer(&self, question: &Question, answer: Answer);
}

/// What a human says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What an approver may do differently.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Differences {
    never_approves: bool,
    decides_alone: bool,
    decides_once: bool,
    shows_any_length: bool,
    shows_nothing: bool,
    asks_in_turn: bool,
    patience: Duration,
}

impl Differences {
    /// None: a human sees every question at once, answers when they like, and may answer again where an answer could not
    /// be recorded.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            never_approves: false,
            decides_alone: false,
            decides_once: false,
            shows_any_length: false,
            shows_nothing: false,
            asks_in_turn: false,
            patience: PATIENCE,
        }
    }

    /// It says no, whatever the hand says.
    #[must_use]
    pub const fn never_approves(mut self) -> Self {
        self.never_approves = true;
        self
    }

    /// It decides while it is asked or soon after, as [`Hand::prepare`] told it, and waits for nobody.
    #[must_use]
    pub const fn decides_alone(mut self) -> Self {
        self.decides_alone = true;
        self
    }

    /// It casts one decision on a question, and no other where that one could not be recorded.
    #[must_use]
    pub const fn decides_once(mut self) -> Self {
        self.decides_once = true;
        self
    }

    /// No question is too long for it.
    #[must_use]
    pub const fn shows_any_length(mut self) -> Self {
        self.shows_any_length = true;
        self
    }

    /// It shows the question to nobody, or where the hand can't read it.
    #[must_use]
    pub const fn shows_nothing(mut self) -> Self {
        self.shows_nothing = true;
        self
    }

    /// It shows one question after the other, so that a question may stand in line when `ask` returns.
    #[must_use]
    pub const fn asks_in_turn(mut self) -> Self {
        self.asks_in_turn = true;
        self
    }

    /// How long the suite waits for what must happen. 10 seconds unless said otherwise.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Default for Differences {
    fn default() -> Self {
        Self::none()
    }
}

/// All rules, one after another.
pub async fn all(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    is_ready(approver).await;
    an_approval_arrives(approver, hand, differences).await;
    a_denial_arrives(approver, hand, differences).await;
    an_approval_of_a_use_arrives(approver, hand, differences).await;
    the_human_is_shown_what_is_asked(approver, hand, differences).await;
    odd_text_can_be_asked(approver, hand, differences).await;
    silence_is_a_no(approver, hand, differences).await;
    what_does_not_fit_is_refused(approver, hand, differences).await;
    questions_at_once_are_told_apart(approver, hand, differences).await;
    endings_can_be_shown(approver, hand, differences).await;
    a_second_answer_does_no_harm(approver, hand, differences).await;
    an_answer_that_was_not_recorded_can_be_given_again(approver, hand, differences).await;
    a_question_that_was_given_up_is_not_approved(approver, hand, differences).await;
}

/// [`check`](Approver::check) is content with an approver that works.
pub async fn is_ready(approver: &dyn Approver) {
    let ready = approver.check().await;
    assert!(ready.is_ok(), "an approver that works says so when it is checked: {ready:?}");
}

/// A yes of the human is cast on the question's ballot, with a name.
pub async fn an_approval_arrives(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    scene.ask_and_answer(question(), Answer::Approve).await;
}

/// A no of the human is cast on the question's ballot, with a name.
pub async fn a_denial_arrives(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    scene.ask_and_answer(question(), Answer::Deny).await;
}

/// The same for a question that says what the value is for and how long it would be kept.
pub async fn an_approval_of_a_use_arrives(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    let mut question = question();
    question.intended_use = Some(Use::any_command());
    question.keep = Some(Duration::from_secs(3600));
    scene.ask_and_answer(question, Answer::Approve).await;
}

/// The human reads what they are asked: of every item its title, its vault and its fields; and who asks.
pub async fn the_human_is_shown_what_is_asked(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    if differences.shows_nothing {
        return;
    }
    let scene = Scene::new(approver, hand, differences);
    let (question, words) = scene::spelled_out();
    hand.prepare(Answer::Deny).await;
    let asked = scene.ask(question).await;
    let text = scene.shown(&asked).await;
    for (what, word) in words {
        assert!(text.contains(&word), "the human is shown what they are asked: {what}, {word}, is missing");
    }
    scene.answer(&asked, Answer::Deny).await;
    scene.decided(&asked, Answer::Deny).await;
}

/// Text that means something to a terminal or a markup language is no reason not to ask.
pub async fn odd_text_can_be_asked(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    for text in ["<b>&amp;\"'</b>", "*_`[x](http://x)", "two\nlines\r\u{1b}[2J", "\u{202e}\u{200b}\0", "ключ 🔑"]
    {
        let mut question = titled(text);
        question.said.reason = Some(text.to_owned());
        question.said.machine = Some(text.to_owned());
        scene.ask_and_answer(question, Answer::Approve).await;
    }
}

/// While the human says nothing, nothing is approved: not in the three seconds that this question can be answered, and not
/// when it has then ended without an answer.
pub async fn silence_is_a_no(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    if differences.decides_alone && !differences.never_approves {
        return;
    }
    let scene = Scene::new(approver, hand, differences);
    let mut short = question();
    short.expires_at = short.asked_at + SILENCE;
    let asked = scene.ask(short).await;
    tokio::time::sleep(SILENCE + QUIET).await;
    scene.show(&asked, Outcome::Expired { unused: None }).await;
    scene.ask_and_answer(question(), Answer::Deny).await;
    let approved = scene.ballots.attempts(&asked.question.id).iter().any(is_approval);
    assert!(!approved, "nothing is approved that the human did not approve: silence was taken for a yes");
}

/// A question that can't be shown whole is refused as too long, and nobody decides on it.
pub async fn what_does_not_fit_is_refused(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    if differences.shows_any_length {
        return;
    }
    let scene = Scene::new(approver, hand, differences);
    for question in [titled(&"t".repeat(5000)), titled(&"🔑".repeat(5000)), titled(&"<&>\n".repeat(1250))] {
        let id = question.id.clone();
        scene.is_too_long(question).await;
        // the decision on a question that fits tells that the approver has gone on
        scene.ask_and_answer(scene::question(), Answer::Deny).await;
        let attempts = scene.ballots.attempts(&id);
        assert!(attempts.is_empty(), "nobody decides on a question that could not be shown: {attempts:?}");
    }
}

/// Of two open questions each gets its own answer.
pub async fn questions_at_once_are_told_apart(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    hand.prepare(Answer::Approve).await;
    let yes = scene.put(titled("to be approved")).await;
    if differences.decides_alone {
        scene.decided(&yes, Answer::Approve).await;
    }
    hand.prepare(Answer::Deny).await;
    let no = scene.put(titled("to be denied")).await;
    if differences.asks_in_turn {
        scene.answer(&yes, Answer::Approve).await;
        scene.decided(&yes, Answer::Approve).await;
        scene.answer(&no, Answer::Deny).await;
        scene.decided(&no, Answer::Deny).await;
    } else {
        // the later one first
        scene.answer(&no, Answer::Deny).await;
        scene.answer(&yes, Answer::Approve).await;
        scene.decided(&yes, Answer::Approve).await;
        scene.decided(&no, Answer::Deny).await;
    }
    for asked in [&yes, &no] {
        let attempts = scene.ballots.attempts(&asked.question.id).len();
        assert_eq!(attempts, 1, "of two open questions each gets its own answer, and no other");
    }
}

/// Every ending can be shown, several after one another and on a question that nobody answered; neither that nor
/// dropping the question blocks or panics.
pub async fn endings_can_be_shown(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    let approval = Approval { by: "Ann".to_owned(), grant: None, at: SystemTime::now(), audit: None };
    let endings = [
        Outcome::Approved(approval.clone()),
        Outcome::Denied { by: "Ann".to_owned() },
        Outcome::Expired { unused: None },
        Outcome::Expired { unused: Some(approval.clone()) },
        Outcome::Withdrawn,
        Outcome::Released(approval.clone()),
        Outcome::Revoked(approval),
    ];
    for ending in &endings {
        let asked = scene.ask(question()).await;
        scene.show_and_drop(asked, vec![ending.clone()]).await;
    }
    let asked = scene.ask(question()).await;
    scene.show_and_drop(asked, endings.into()).await;
    let asked = scene.ask(question()).await;
    // dropped without a word
    scene.show_and_drop(asked, Vec::new()).await;
    scene.ask_and_answer(question(), Answer::Approve).await;
}

/// A human who answers twice has answered once: the approver casts no more decisions than there were answers, takes it
/// that the second does not count, and goes on.
pub async fn a_second_answer_does_no_harm(approver: &dyn Approver, hand: &dyn Hand, differences: &Differences) {
    let scene = Scene::new(approver, hand, differences);
    hand.prepare(Answer::Approve).await;
    let asked = scene.ask(question()).await;
    scene.answer(&asked, Answer::Approve).await;
    scene.answer(&asked, Answer::Deny).await;
    let rule = "an answer is cast on the question's ballot";
    let outcome = within(differences.patience, rule, scene.ballots.outcome(&asked.question.id)).await;
    scene.show(&asked, outcome).await;
    tokio::time::sleep(QUIET).await;
    scene.ask_and_answer(question(), Answer::Deny).await;
    let attempts = scene.ballots.attempts(&asked.question.id).len();
    assert!(attempts <= 2, "an answer that does not count is not cast again: two answers became {attempts} decisions");
    is_ready(approver).await;
}

/// Where an answer could not be written down, the question stays open and takes another.
pub async fn an_answer_that_was_not_recorded_can_be_given_again(
    approver: &dyn Approver,
    hand: &dyn Hand,
    differences: &Differences,
) {
    let scene = Scene::new(approver, hand, differences);
    scene.ballots.fail_next(CastError::NotRecorded);
    hand.prepare(Answer::Deny).await;
    let asked = scene.ask(question()).await;
    scene.answer(&asked, Answer::Deny).await;
    let rule = "an answer is cast on the question's ballot";
    within(differences.patience, rule, scene.ballots.attempted(&asked.question.id, 1)).await;
    if !differences.decides_once && !differences.decides_alone {
        scene.answer(&asked, Answer::Approve).await;
        scene.decided(&asked, Answer::Approve).await;
    }
    scene.show(&asked, Outcome::Withdrawn).await;
    scene.ask_and_answer(question(), Answer::Deny).await;
}

/// A call of `ask` that is given up half-way leaves nothing behind that approves or stands in the way.
pub async fn a_question_that_was_given_up_is_not_approved(
    approver: &dyn Approver,
    hand: &dyn Hand,
    differences: &Differences,
) {
    let scene = Scene::new(approver, hand, differences);
    hand.prepare(Answer::Deny).await;
    let abandoned = Arc::new(question());
    // polled once, and dropped with what it may have returned
    let ballot = Ballots::ballot(&scene.ballots, &abandoned.id);
    drop(approver.ask(Arc::clone(&abandoned), ballot).now_or_never());
    // what decides alone may get to the abandoned one as late as to this one
    let next = if differences.decides_alone { Answer::Deny } else { Answer::Approve };
    scene.ask_and_answer(question(), next).await;
    let approved = scene.ballots.attempts(&abandoned.id).iter().any(is_approval);
    assert!(!approved, "a question that was given up is not approved");
}

const fn is_approval(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Approve(_))
}
