#!/usr/bin/env node
import { openQuestions } from './questions';
import { runCli } from './run';

const { stdin, stdout, stderr } = process;
// Whoever read along may go away (`| head`); that must not end hours of training.
for (const stream of [stdout, stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
process.exitCode = await runCli(process.argv.slice(2), {
  out: (text) => stdout.write(`${text}\n`),
  err: (text) => stderr.write(`${text}\n`),
  terminal: stderr.isTTY
    ? { write: (text) => void stderr.write(text), columns: () => stderr.columns || 80 }
    : undefined,
  questions: stdin.isTTY && stderr.isTTY ? () => openQuestions(stdin, stderr) : undefined,
});
