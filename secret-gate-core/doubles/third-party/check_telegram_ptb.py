"""Checks the Telegram double with python-telegram-bot."""

import asyncio

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.constants import ChatType, ParseMode
from telegram.error import BadRequest, Conflict, InvalidToken, RetryAfter
from telegram.request import HTTPXRequest

from doubles_control import arguments, control, expect, poll_waits

CHAT = 42


async def refused(kind, call):
    """The exception of this kind that the call raises, or None when it succeeds."""
    try:
        await call
    except kind as error:
        return error
    return None


def make_bot(url, token):
    def direct():
        return HTTPXRequest(httpx_kwargs={"trust_env": False})

    return Bot(token, base_url=f"{url}/bot", request=direct(), get_updates_request=direct())


async def ask_and_decide(bot, url):
    keyboard = InlineKeyboardMarkup(
        [[InlineKeyboardButton("Approve", callback_data="a:1"), InlineKeyboardButton("Deny", callback_data="d:1")]]
    )
    message = await bot.send_message(
        CHAT, "<b>db</b> &lt;x&gt;", parse_mode=ParseMode.HTML, reply_markup=keyboard
    )
    expect(message.text, "db <x>", "text after entity parsing")
    expect(message.parse_entities(), {message.entities[0]: "db"}, "entities")
    expect(message.reply_markup, keyboard, "keyboard")

    polling = asyncio.create_task(bot.get_updates(timeout=20, allowed_updates=["callback_query"]))
    await poll_waits(url)
    control(url, "press", {"message_id": message.message_id, "button": "Deny"})
    (update,) = await polling
    query = update.callback_query
    expect((query.data, query.from_user.id), ("d:1", CHAT), "press")
    expect(query.message.reply_markup, keyboard, "keyboard of the pressed message")
    expect(await query.answer(text="denied", show_alert=True), True, "answer to the press")
    expect(control(url, "answers")[-1]["show_alert"], True, "alert")
    late = await refused(BadRequest, query.answer())
    expect("query is too old" in str(late).lower(), True, "second answer")

    edited = await message.edit_text("*denied*", parse_mode=ParseMode.MARKDOWN)
    expect((edited.text, edited.reply_markup), ("denied", None), "edited message")
    same = await refused(BadRequest, message.edit_text("*denied*", parse_mode=ParseMode.MARKDOWN))
    expect("message is not modified" in str(same).lower(), True, "same edit")
    expect(await bot.get_updates(offset=update.update_id + 1), (), "confirmed updates")


async def refusals(bot, url, token):
    for call, reason in [
        (bot.send_message(CHAT, "<b>x", parse_mode=ParseMode.HTML), "can't parse entities"),
        (bot.send_message(CHAT, "x" * 4097), "message is too long"),
        (bot.send_message(CHAT, " "), "text is empty"),
        (bot.send_message(7, "x"), "chat not found"),
        (
            bot.send_message(
                CHAT, "x", reply_markup=InlineKeyboardMarkup.from_button(InlineKeyboardButton("x", callback_data="x" * 65))
            ),
            "button_data_invalid",
        ),
    ]:
        error = await refused(BadRequest, call)
        expect(reason in str(error).lower(), True, f"{reason}, not {error}")

    control(url, "fault", {"method": "sendMessage", "fault": {"retry_after": 3}, "times": {"next": 1}})
    flood = await refused(RetryAfter, bot.send_message(CHAT, "x"))
    expect(int(getattr(flood, "_retry_after", flood.retry_after).total_seconds()), 3, "retry_after")
    control(url, "fault", {"method": "getUpdates", "fault": "conflict", "times": {"next": 1}})
    expect(await refused(Conflict, bot.get_updates()) is not None, True, "409 of another poller")
    control(url, "fault", {"webhook": "https://hook.example"})
    hook = await refused(Conflict, bot.get_updates())
    expect("webhook is active" in str(hook), True, "409 of a webhook")
    expect((await bot.get_webhook_info()).url, "https://hook.example", "webhook")
    expect(await bot.delete_webhook(), True, "deleteWebhook")

    wrong = make_bot(url, token[:-1] + "1")
    expect(await refused(InvalidToken, wrong.initialize()) is not None, True, "401 for a wrong token")


async def main():
    given = arguments(__doc__)
    async with make_bot(given.url, given.token) as bot:
        expect(bot.id, int(given.token.split(":")[0]), "bot id")
        expect((await bot.get_chat(CHAT)).type, ChatType.PRIVATE, "kind of the chat")
        await ask_and_decide(bot, given.url)
        await refusals(bot, given.url, given.token)
    print("telegram double: python-telegram-bot agrees")


asyncio.run(main())
