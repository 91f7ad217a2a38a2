//! The buttons under a question, and what a press on one says.

use std::time::Duration;

use teloxide_core::types::{InlineKeyboardButton, InlineKeyboardMarkup};

use crate::approver::{Question, message};
use crate::{Decision, Keep, RequestId};

const LONG: Duration = Duration::from_secs(8 * 3600);

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Approve,
    ApproveOnce,
    ApproveLong,
    Deny,
}

impl Action {
    const ALL: [Self; 4] = [Self::Approve, Self::ApproveOnce, Self::ApproveLong, Self::Deny];

    const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::ApproveOnce => "once",
            Self::ApproveLong => "8h",
            Self::Deny => "deny",
        }
    }

    /// What goes over the wire with the button: the action and the request's id, which is random and not secret.
    fn data(self, id: &RequestId) -> String {
        format!("{}:{id}", self.word())
    }

    /// The decision that a press by this person means.
    pub(super) fn decision(self, by: String) -> Decision {
        match self {
            Self::Approve => Decision::approve(by),
            Self::ApproveOnce => Decision::approve_for(by, Keep::Once),
            Self::ApproveLong => Decision::approve_for(by, Keep::For(LONG)),
            Self::Deny => Decision::deny(by),
        }
    }

    /// Whether a button of this kind stands under the question.
    pub(super) const fn is_offered(self, question: &Question) -> bool {
        match self {
            Self::Approve | Self::Deny => true,
            // without an intended use nothing is kept, so there is no time to choose
            Self::ApproveOnce | Self::ApproveLong => question.intended_use.is_some(),
        }
    }
}

/// The action and the request that a pressed button names.
pub(super) fn parse(data: &str) -> Option<(Action, RequestId)> {
    let (word, id) = data.split_once(':')?;
    let action = Action::ALL.into_iter().find(|action| action.word() == word)?;
    Some((action, RequestId::from(id.to_owned())))
}

/// The buttons for a question.
pub(super) fn buttons(question: &Question) -> InlineKeyboardMarkup {
    let approve = match question.keep {
        Some(keep) if question.intended_use.is_some() => format!("✅ Approve {}", message::duration(keep)),
        _ => "✅ Approve".to_owned(),
    };
    let offered = Action::ALL.into_iter().filter(|action| action.is_offered(question));
    let row = offered.map(|action| {
        let label = match action {
            Action::Approve => approve.clone(),
            Action::ApproveOnce => "Once".to_owned(),
            Action::ApproveLong => message::duration(LONG),
            Action::Deny => "❌ Deny".to_owned(),
        };
        InlineKeyboardButton::callback(label, action.data(&question.id))
    });
    InlineKeyboardMarkup::new([row.collect::<Vec<_>>()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_button_means_what_it_was_made_for_and_nothing_else_means_anything(
            id in "[0-9a-f]{32}",
            data in "\\PC{0,80}|(approve|once|8h|deny):\\PC{0,40}",
        ) {
            let id = RequestId::from(id);
            for action in Action::ALL {
                let made = action.data(&id);
                prop_assert!(made.len() <= 64, "Telegram takes no more");
                let (parsed, of) = parse(&made).unwrap();
                prop_assert!(parsed.word() == action.word() && of == id);
            }
            if let Some((action, id)) = parse(&data) {
                prop_assert_eq!(action.data(&id), data);
            }
        }
    }
}
