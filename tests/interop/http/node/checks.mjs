// The checks of the Node peers: registered by title, run one after the other, and counted by ../run.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

const TIMEOUT = 30_000; // milliseconds, for each check
const checks = [];

export const check = (name, body) => checks.push({ name, body });

// Runs the registered checks and exits, with status 1 if a check failed.
export const run = async (peer) => {
  let failed = 0;
  for (const { name, body } of checks) {
    const started = Date.now();
    const timeout = sleep(TIMEOUT, null, { ref: false }).then(() => assert.fail(`timed out after ${TIMEOUT} ms`));
    try {
      await Promise.race([body(), timeout]);
      console.log(`ok      ${peer}: ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      const cause = error.cause ? `: ${error.cause.message}` : '';
      console.log(`FAILED  ${peer}: ${name}: ${error.message.split('\n').filter(Boolean).join(' ')}${cause}`);
    }
  }
  process.exit(failed ? 1 : 0);
};
