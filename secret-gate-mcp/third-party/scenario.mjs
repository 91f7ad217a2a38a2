// What every client goes through: list, each tool, each failure, progress, cancel, many at once, and a long wait.

import { mkdirSync } from 'node:fs';
import { asked, expect, folder, press, program, server, sleep, told } from './human.mjs';

const VALUE = 'correct-horse-battery';
const seconds = (name, fallback) => Number(process.env[name] ?? fallback);
/** When the client gives up on a call, how long a call waits, and when the human answers. */
const GIVES_UP = seconds('GIVES_UP', 6);
const WAITS = seconds('WAITS', 4);
const APPROVES = seconds('APPROVES', 18);

/** How the program is started: on a machine of its own. */
export function start(name, ...args) {
  const home = `${folder}/${name}`;
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const env = { HOME: home, XDG_RUNTIME_DIR: home, PATH: '/usr/bin:/bin', SECRET_GATE_URL: server };
  return { command: program, args, env, cwd: home, stderr: 'inherit' };
}

/** `connect(arguments)` gives a client with list, call, version and close. */
export async function scenario(name, version, connect) {
  const heard = [];
  const client = await connect(name, '--grace', '1s');
  const call = async (tool, args, options) => {
    const result = await client.call(tool, args, options);
    heard.push(JSON.stringify(result));
    return result;
  };
  const done = async (tool, args, options) => {
    const result = await call(tool, args, options);
    expect(!result.isError && result.structuredContent, `${name}: ${tool}`, result);
    expect(JSON.stringify(JSON.parse(result.content[0].text)) === JSON.stringify(result.structuredContent), 'text', result);
    return result.structuredContent;
  };
  const refused = async (tool, args, words) => {
    const result = await call(tool, args);
    expect(result.isError && !result.structuredContent, `${name}: ${tool} refuses`, result);
    expect(result.content[0].text.includes(words), `${name}: ${tool} says ${words}`, result);
  };
  expect(client.version() === version, `${name}: revision ${version}`, client.version());

  const tools = await client.list();
  const names = 'search_secrets inspect_fields request_secret exec_with_secret ssh_with_secret daemon_status';
  expect(tools.map((tool) => tool.name).join(' ') === names, `${name}: list`, tools);
  expect(tools.every((tool) => tool.outputSchema && tool.annotations && tool.description), `${name}: tools`, tools);
  expect(client.instructions()?.includes('request_secret'), `${name}: instructions`);
  const patience = patient(name, connect);

  expect((await done('daemon_status', {})).socket_path.includes(name), `${name}: status`);
  expect((await done('search_secrets', { query: 'db' })).results[0].secret_name === 'db', `${name}: search`);
  expect((await done('inspect_fields', { secret_name: 'db' })).fields.length === 2, `${name}: fields`);

  const reason = `${name} needs it`;
  const exec = { secret_name: 'db', field: 'password', env_var: 'P', command: 'printf %s $P | base64; echo $P; exit 4' };
  const login = { secret_name: 'deploy-key', host: 'ann@127.0.0.1', port: 1, command: 'id' };
  await refused('inspect_fields', { secret_name: 'nothing like it' }, 'search_secrets');
  await refused('request_secret', { secret_name: 'dbx', reason }, 'Did you mean db');
  await refused('request_secret', { secret_name: 'twin', reason }, 'vault other');
  await refused('request_secret', { secret_name: 'db', reason, fields: ['passwort'] }, 'password');
  await refused('exec_with_secret', exec, '"env_var":"P"');
  await refused('ssh_with_secret', login, '"host":"ann@127.0.0.1"');
  await refused('ssh_with_secret', { ...login, host: '-oProxyCommand=true' }, 'host');
  await refused('search_secrets', { query: 5 }, 'invalid type');
  const unknown = await client.call('no_such_tool', {}).then((result) => result.isError, () => true);
  expect(unknown === true, `${name}: unknown tool`);

  // progress, and an approval
  const progress = [];
  const waiting = done('request_secret', { secret_name: 'db', reason }, { onprogress: (news) => progress.push(news) });
  while (progress.length === 0) await sleep(0.1);
  expect(progress[0].progress > 0 && progress[0].message, `${name}: progress`, progress);
  await press(reason, 'Approve');
  const approved = await waiting;
  expect(approved.status === 'approved' && approved.fields_available.includes('password'), `${name}: approved`, approved);
  expect((await done('request_secret', { secret_name: 'db', reason })).cached, `${name}: cached`);
  const ran = await done('exec_with_secret', exec);
  expect(ran.exit_code === 4 && ran.stdout === '[redacted:db/password]\n'.repeat(2), `${name}: exec`, ran);
  const slow = await done('exec_with_secret', { ...exec, command: 'sleep 60', timeout_sec: 1 });
  expect(slow.exit_code === -1 && slow.stderr.includes('killed'), `${name}: time-out`, slow);

  // exactly one login, to where nobody listens
  const asking = done('request_secret', { ...login, reason: `${name} logs in` });
  await press(`${name} logs in`, 'Approve');
  expect((await asking).status === 'approved', `${name}: login approved`);
  const tried = await done('ssh_with_secret', login);
  expect(tried.exit_code === 255 && tried.secret_used === 'deploy-key/private key', `${name}: ssh`, tried);

  // no
  const denied = done('request_secret', { secret_name: 'deploy-key', reason: `${name} must not` });
  await press(`${name} must not`, 'Deny');
  expect((await denied).status === 'denied', `${name}: denied`);

  // cancel
  const cancelled = `${name} changes its mind`;
  const control = new AbortController();
  const ended = client.call('request_secret', { secret_name: 'deploy-key', reason: cancelled }, { signal: control.signal });
  const outcome = ended.then(() => 'answered', () => 'cancelled');
  await told(cancelled);
  control.abort('changed its mind');
  expect((await outcome) === 'cancelled', `${name}: cancel`);
  await told(cancelled, 'Withdrawn');

  // many at once
  const many = Array.from({ length: 20 }, (_, at) => done('search_secrets', { query: 'db', limit: at + 1 }));
  expect((await Promise.all(many)).every((found) => found.count === 1), `${name}: many at once`);

  await patience;
  await client.close();
  expect(!heard.join('').includes(VALUE), `${name}: no value`);
  expect(!heard.join('').includes(btoa(VALUE)), `${name}: no value in base64`);
  console.log(`${name}: ${version}, all as it should be`);
}

/** An approval takes longer than the client waits for any call. */
async function patient(name, connect) {
  const client = await connect(name, '--wait', `${WAITS}s`);
  const reason = `${name} is patient`;
  const approval = told(reason).then(() => sleep(APPROVES)).then(() => press(reason, 'Approve'));
  let calls = 0;
  for (let status = 'pending'; status !== 'approved'; ) {
    calls += 1;
    const timeout = GIVES_UP * 1000;
    const result = await client.call('request_secret', { secret_name: 'patient', reason }, { timeout });
    status = result.structuredContent?.status;
    expect(status === 'approved' || status === 'pending', `${name}: patience`, result);
  }
  await approval;
  expect(calls > 2 && (await asked(reason)).length === 1, `${name}: one question in ${calls} calls`);
  await client.close();
}
