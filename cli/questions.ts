/** Questions to a person at a terminal. */
import readline from 'node:readline';

export interface Questions {
  /** @returns the answer, or undefined where the input has ended or Ctrl-C was pressed. */
  ask(text: string): Promise<string | undefined>;
  /** Whether Ctrl-C was pressed. */
  wasInterrupted(): boolean;
  close(): void;
}

/** One reader for all questions: lines that were typed ahead, or pasted, are answers to the next ones. */
export function openQuestions(input: NodeJS.ReadableStream, output: NodeJS.WritableStream, terminal = true): Questions {
  const reader = readline.createInterface({ input, output, terminal });
  const lines: string[] = [];
  let waiting: ((line: string | undefined) => void) | undefined;
  let hasEnded = false;
  let interrupted = false;
  reader.on('line', (line) => {
    if (waiting === undefined) lines.push(line);
    else waiting(line);
    waiting = undefined;
  });
  reader.on('close', () => {
    hasEnded = true;
    if (waiting === undefined) return;
    // What is said next does not belong behind the question.
    output.write('\n');
    waiting(undefined);
    waiting = undefined;
  });
  reader.on('SIGINT', () => {
    interrupted = true;
    // Whoever stops does not want what was typed ahead to go on answering.
    lines.length = 0;
    reader.close();
  });
  return {
    ask: async (text) => {
      const line = lines.shift();
      if (line !== undefined) {
        output.write(`${text}${line}\n`);
        return line;
      }
      if (hasEnded) return undefined;
      reader.setPrompt(text);
      reader.prompt();
      return new Promise((resolve) => {
        waiting = resolve;
      });
    },
    wasInterrupted: () => interrupted,
    close: () => reader.close(),
  };
}
