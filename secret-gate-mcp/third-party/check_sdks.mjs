// The TypeScript SDKs, one for each revision.
//
//   check_sdks.mjs SERVER_URL TELEGRAM_URL PROGRAM FOLDER

import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Client as ClientJune } from 'sdk-2025-06-18/client/index.js';
import { StdioClientTransport as TransportJune } from 'sdk-2025-06-18/client/stdio.js';
import { scenario, start } from './scenario.mjs';

// what a client warns of, it does not take as it is
for (const word of ['warn', 'error']) {
  console[word] = (...text) => {
    process.stderr.write(`mismatch: a client says: ${text.join(' ')}\n`);
    process.exit(1);
  };
}

/** The SDK of the older kind: its protocol version is seen where its transport is told. */
const older = (Client, Transport) => async (name, ...args) => {
  const client = new Client({ name, version: '9.9' }, { capabilities: {} });
  const transport = new Transport(start(name, ...args));
  let version;
  transport.setProtocolVersion = (negotiated) => {
    version = negotiated;
  };
  await client.connect(transport);
  return {
    list: async () => (await client.listTools()).tools,
    call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    version: () => version,
    instructions: () => client.getInstructions(),
    close: () => client.close(),
  };
};

const newer = async (name, ...args) => {
  const client = new Client({ name, version: '9.9' }, { capabilities: {}, versionNegotiation: { mode: 'auto' } });
  await client.connect(new StdioClientTransport(start(name, ...args)));
  return {
    list: async () => (await client.listTools()).tools,
    call: (name, args, options) => client.callTool({ name, arguments: args }, options),
    version: () => client.getNegotiatedProtocolVersion(),
    instructions: () => client.getInstructions(),
    close: () => client.close(),
  };
};

await Promise.all([
  scenario('typescript-sdk-1.20', '2025-06-18', older(ClientJune, TransportJune)),
  scenario('typescript-sdk-1.32', '2025-11-25', older(Client1, Transport1)),
  scenario('typescript-client-2.4', '2026-07-28', newer),
]);
