//! What each method of the Bot API does.

#![expect(clippy::indexing_slicing, reason = "assigning to a member of a JSON object that was made here cannot fail")]

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    formatting::Formatted,
    parameters::Parameters,
    refusal::Refusal,
    types::CallbackAnswer,
    updates::get_updates,
    world::{Content, World},
};
use crate::watched::Watched;

/// The methods that are played, as the Bot API's document spells them.
const METHODS: [&str; 12] = [
    "getMe",
    "getChat",
    "getChatMember",
    "sendChatAction",
    "sendMessage",
    "editMessageText",
    "editMessageReplyMarkup",
    "answerCallbackQuery",
    "getUpdates",
    "deleteWebhook",
    "setWebhook",
    "getWebhookInfo",
];

/// The longest text, counted in UTF-16 code units after entity parsing. The document says "characters"; of the possible
/// readings this is the strictest, so a text that passes here passes there.
const LONGEST_TEXT: usize = 4096;

/// The longest answer to a press, in characters.
const LONGEST_ANSWER: usize = 200;

/// The document's spelling of a method; names are case-insensitive.
pub(super) fn canonical(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method))
}

/// Handles a call, named by its canonical method.
pub(super) async fn handle(world: &Watched<World>, method: &str, parameters: &Parameters) -> Result<Value, Refusal> {
    let now = |act: fn(&mut World, &Parameters) -> Result<Value, Refusal>| world.change(|world| act(world, parameters));
    match method {
        "getMe" => now(get_me),
        "getChat" => now(get_chat),
        "getChatMember" => now(get_chat_member),
        "sendChatAction" => now(send_chat_action),
        "sendMessage" => now(send_message),
        "editMessageText" => now(edit_message_text),
        "editMessageReplyMarkup" => now(edit_message_reply_markup),
        "answerCallbackQuery" => now(answer_callback_query),
        "getUpdates" => {
            let allowed = structure(parameters, "allowed_updates")?;
            get_updates(world, parameters, allowed.as_ref()).await
        }
        "deleteWebhook" => now(delete_webhook),
        "setWebhook" => now(set_webhook),
        "getWebhookInfo" => now(get_webhook_info),
        _ => Err(Refusal::not_found()),
    }
}

fn get_me(world: &mut World, _: &Parameters) -> Result<Value, Refusal> {
    let mut me = world.show_bot();
    for (ability, has) in [
        ("can_join_groups", true),
        ("can_read_all_group_messages", false),
        ("supports_inline_queries", false),
        ("can_connect_to_business", false),
        ("has_main_web_app", false),
        ("has_topics_enabled", false),
        ("allows_users_to_create_topics", false),
    ] {
        me[ability] = json!(has);
    }
    Ok(me)
}

fn get_chat(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let id = chat_id(parameters)?;
    // who blocks the bot can still be looked at
    world.check_known(id)?;
    let mut chat = world.show_chat(id);
    chat["accent_color_id"] = json!(3);
    chat["max_reaction_count"] = json!(11);
    chat["accepted_gift_types"] = json!({
        "unlimited_gifts": true,
        "limited_gifts": true,
        "unique_gifts": true,
        "premium_subscription": true,
        "gifts_from_channels": true,
    });
    Ok(chat)
}

fn get_chat_member(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let chat = chat_id(parameters)?;
    world.check_known(chat)?;
    let user = parameters.integer("user_id").filter(|id| *id > 0);
    world.show_member(chat, user.ok_or_else(|| Refusal::bad("invalid user_id specified"))?)
}

fn send_chat_action(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    const ACTIONS: [&str; 11] = [
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    ];
    world.check_chat(chat_id(parameters)?)?;
    if ACTIONS.contains(&parameters.text("action")) {
        Ok(json!(true))
    } else {
        Err(Refusal::bad("wrong parameter action in request"))
    }
}

fn send_message(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let formatted = formatted(parameters)?;
    let markup = markup(parameters)?;
    let chat = chat_id(parameters)?;
    world.check_chat(chat)?;
    let content = content(parameters, formatted, markup)?;
    Ok(world.send(chat, content))
}

fn edit_message_text(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let formatted = formatted(parameters)?;
    // An edit without a keyboard takes the old one away.
    let markup = markup(parameters)?;
    let (chat, message) = message_to_edit(world, parameters)?;
    let content = content(parameters, formatted, markup)?;
    world.edit(chat, message, |_| content)
}

fn edit_message_reply_markup(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let markup = markup(parameters)?;
    let (chat, message) = message_to_edit(world, parameters)?;
    check_buttons(markup.as_ref())?;
    world.edit(chat, message, |old| Content { markup, ..old.clone() })
}

fn answer_callback_query(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let text = parameters.text("text");
    if text.chars().count() > LONGEST_ANSWER {
        return Err(Refusal::bad("MESSAGE_TOO_LONG"));
    }
    let answer = CallbackAnswer {
        callback_query_id: parameters.text("callback_query_id").to_owned(),
        text: text.to_owned(),
        show_alert: parameters.boolean("show_alert"),
        at: Instant::now(),
    };
    world.answer_press(answer).map(|()| json!(true))
}

fn delete_webhook(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    world.updates.webhook = None;
    if parameters.boolean("drop_pending_updates") {
        world.updates.drop_pending();
    }
    Ok(json!(true))
}

fn set_webhook(world: &mut World, parameters: &Parameters) -> Result<Value, Refusal> {
    let url = parameters.text("url");
    if !url.is_empty() && !url.starts_with("https://") {
        return Err(Refusal::bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    let allowed = structure(parameters, "allowed_updates")?;
    delete_webhook(world, parameters)?;
    world.updates.webhook = (!url.is_empty()).then(|| url.to_owned());
    world.updates.allow(allowed.as_ref());
    Ok(json!(true))
}

fn get_webhook_info(world: &mut World, _: &Parameters) -> Result<Value, Refusal> {
    Ok(json!({
        "url": world.updates.webhook.clone().unwrap_or_default(),
        "has_custom_certificate": false,
        "pending_update_count": world.updates.pending(),
    }))
}

fn chat_id(parameters: &Parameters) -> Result<i64, Refusal> {
    if let Some(id) = parameters.integer("chat_id") {
        return Ok(id);
    }
    let reason = match parameters.text("chat_id") {
        "" => "chat_id is empty",
        // A user name such as `@channel`; no chat of the double has one.
        _ => "chat not found",
    };
    Err(Refusal::bad(reason))
}

fn message_to_edit(world: &World, parameters: &Parameters) -> Result<(i64, i64), Refusal> {
    let unspecified = || Refusal::bad("message identifier is not specified");
    let message = parameters.integer("message_id").ok_or_else(unspecified)?;
    let chat = chat_id(parameters)?;
    world.check_chat(chat)?;
    match world.message(chat, message) {
        Some(_) => Ok((chat, message)),
        None => Err(Refusal::bad("message to edit not found")),
    }
}

fn formatted(parameters: &Parameters) -> Result<Formatted, Refusal> {
    let text = parameters.text("text");
    if text.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    let entities = structure(parameters, "entities")?;
    Formatted::parse(text, parameters.text("parse_mode"), entities.as_ref()).map_err(|reason| Refusal::bad(&reason))
}

/// The last checks, which the service makes once it knows the chat.
fn content(parameters: &Parameters, formatted: Formatted, markup: Option<Value>) -> Result<Content, Refusal> {
    if formatted.length() == 0 {
        return Err(Refusal::bad("message text is empty"));
    }
    if formatted.length() > LONGEST_TEXT {
        return Err(Refusal::bad("message is too long"));
    }
    check_buttons(markup.as_ref())?;
    Ok(Content { text: parameters.text("text").to_owned(), formatted, markup })
}

/// The inline keyboard, if there is one with buttons. Other kinds of markup are accepted and ignored.
fn markup(parameters: &Parameters) -> Result<Option<Value>, Refusal> {
    let Some(markup) = structure(parameters, "reply_markup")? else {
        return Ok(None);
    };
    if !markup.is_object() {
        return Err(Refusal::bad("object expected as reply markup"));
    }
    let Some(rows) = markup.get("inline_keyboard") else {
        return Ok(None);
    };
    let rows = rows
        .as_array()
        .ok_or_else(|| Refusal::bad("can't parse inline keyboard: Field \"inline_keyboard\" must be of type Array"))?;
    let full: Vec<&Value> = rows.iter().filter(|row| row.as_array().is_some_and(|row| !row.is_empty())).collect();
    Ok((!full.is_empty()).then(|| json!({"inline_keyboard": full})))
}

fn check_buttons(markup: Option<&Value>) -> Result<(), Refusal> {
    const ACTIONS: [&str; 8] = [
        "callback_data",
        "url",
        "web_app",
        "login_url",
        "switch_inline_query",
        "switch_inline_query_current_chat",
        "switch_inline_query_chosen_chat",
        "copy_text",
    ];
    let rows = markup.and_then(|markup| markup.get("inline_keyboard")).and_then(Value::as_array);
    for button in rows.into_iter().flatten().filter_map(Value::as_array).flatten() {
        if button.get("text").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Refusal::bad("can't parse inline keyboard button: Field \"text\" must be non-empty"));
        }
        if !ACTIONS.iter().any(|action| button.get(action).is_some()) {
            return Err(Refusal::bad(
                "inline keyboard button has no action: Text buttons are unallowed in the inline keyboard",
            ));
        }
        let data = button.get("callback_data").and_then(Value::as_str);
        if data.is_some_and(|data| !(1..=64).contains(&data.len())) {
            return Err(Refusal::bad("BUTTON_DATA_INVALID"));
        }
    }
    Ok(())
}

fn structure(parameters: &Parameters, name: &str) -> Result<Option<Value>, Refusal> {
    let no_json = |_| Refusal::bad(&format!("can't parse {} JSON object", name.replace('_', " ")));
    parameters.structure(name).map_err(no_json)
}
