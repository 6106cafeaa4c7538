#!/usr/bin/env node
import { runCli } from './run';

const { stderr } = process;
process.exitCode = await runCli(process.argv.slice(2), {
  out: (text) => process.stdout.write(`${text}\n`),
  err: (text) => stderr.write(`${text}\n`),
  terminal: stderr.isTTY
    ? { write: (text) => void stderr.write(text), columns: () => stderr.columns || 80 }
    : undefined,
});
