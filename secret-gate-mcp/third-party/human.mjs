// The human, by the control API of the Telegram double, and what the checks share.

const [, , server, telegram, program, folder] = process.argv;
export { folder, program, server };

export function expect(holds, what, got) {
  if (!holds) throw new Error(`mismatch: ${what}${got === undefined ? '' : `, got ${JSON.stringify(got)}`}`);
}

export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

const messages = async () => (await fetch(`${telegram}/control/messages`)).json();

/** The messages with these words. */
export const asked = async (words) => (await messages()).filter((message) => message.plain.includes(words));

/** Waits for a message with both words. */
export async function told(...words) {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = (await messages()).find((message) => words.every((word) => message.plain.includes(word)));
    if (found) return found;
    await sleep(0.1);
  }
  throw new Error(`mismatch: no message with ${words.join(' and ')}`);
}

/** Presses a button on the question with these words. */
export async function press(words, button) {
  const { message_id } = await told(words);
  const body = JSON.stringify({ message_id, button });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${telegram}/control/press`, { method: 'POST', headers, body });
  expect(answer.ok, `a button ${button}`, await answer.text());
}
