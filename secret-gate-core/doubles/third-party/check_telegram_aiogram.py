"""Checks the Telegram double with aiogram."""

import asyncio

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramConflictError,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from doubles_control import arguments, control, expect, poll_waits

CHAT = 42


async def refused(kind, call):
    """The text of the exception of this kind that the call raises, or None when it succeeds."""
    try:
        await call
    except kind as error:
        return str(error).lower()
    return None


def make_bot(url, token):
    return Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(url)))


async def ask_and_decide(bot, url):
    keyboard = InlineKeyboardMarkup(
        inline_keyboard=[[InlineKeyboardButton(text="Approve", callback_data="a:1")]]
    )
    message = await bot.send_message(
        CHAT, "<blockquote expandable>db</blockquote> 😀 <code>x</code>", parse_mode="HTML", reply_markup=keyboard
    )
    expect(message.text, "db 😀 x", "text after entity parsing")
    expect(message.html_text, "<blockquote expandable>db</blockquote> 😀 <code>x</code>", "entities")

    polling = asyncio.create_task(bot.get_updates(timeout=20, allowed_updates=["callback_query"]))
    await poll_waits(url)
    control(url, "press", {"message_id": message.message_id, "button": "a:1"})
    (update,) = await polling
    query = update.callback_query
    expect((query.data, query.from_user.id, query.message.text), ("a:1", CHAT, message.text), "press")
    expect(await bot.answer_callback_query(query.id, text="ok"), True, "answer to the press")
    late = await refused(TelegramBadRequest, bot.answer_callback_query(query.id))
    expect("query is too old" in (late or ""), True, "second answer")

    bare = await bot.edit_message_reply_markup(chat_id=CHAT, message_id=message.message_id)
    expect(bare.reply_markup, None, "keyboard taken away")
    again = bot.edit_message_reply_markup(chat_id=CHAT, message_id=message.message_id)
    expect("message is not modified" in (await refused(TelegramBadRequest, again) or ""), True, "same edit")
    edited = await bot.edit_message_text("approved", chat_id=CHAT, message_id=message.message_id)
    expect(edited.text, "approved", "edited message")
    unknown = bot.edit_message_text("x", chat_id=CHAT, message_id=9999)
    expect("message to edit not found" in (await refused(TelegramBadRequest, unknown) or ""), True, "unknown message")
    expect(await bot.get_updates(offset=update.update_id + 1), [], "confirmed updates")


async def refusals(bot, url, token):
    for text, reason in [("<b>x</i>", "unmatched end tag"), ("a < b", "unsupported start tag")]:
        error = await refused(TelegramBadRequest, bot.send_message(CHAT, text, parse_mode="HTML"))
        expect(reason in (error or ""), True, f"{reason}, not {error}")

    first = asyncio.create_task(refused(TelegramConflictError, bot.get_updates(timeout=20)))
    await poll_waits(url)
    await bot.get_updates(timeout=0)
    expect("terminated by other getupdates" in (await first or ""), True, "409 for the first of two pollers")

    control(url, "fault", {"method": "sendMessage", "fault": {"retry_after": 2}, "times": {"next": 1}})
    flood = await refused(TelegramRetryAfter, bot.send_message(CHAT, "x"))
    expect("retry in 2" in (flood or ""), True, f"retry_after, not {flood}")
    control(url, "fault", {"webhook": "https://hook.example"})
    hook = await refused(TelegramConflictError, bot.get_updates())
    expect("webhook is active" in (hook or ""), True, "409 of a webhook")
    expect(await bot.delete_webhook(), True, "deleteWebhook")

    wrong = make_bot(url, token[:-1] + "1")
    expect(await refused(TelegramUnauthorizedError, wrong.get_me()) is not None, True, "401 for a wrong token")
    await wrong.session.close()


async def main():
    given = arguments(__doc__)
    bot = make_bot(given.url, given.token)
    try:
        expect((await bot.get_me()).id, bot.id, "bot id")
        expect((await bot.get_chat(CHAT)).type, "private", "kind of the chat")
        await ask_and_decide(bot, given.url)
        await refusals(bot, given.url, given.token)
    finally:
        await bot.session.close()
    print("telegram double: aiogram agrees")


asyncio.run(main())
