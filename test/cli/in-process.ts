/** The command line in this process, with everything that it writes caught. */
import { PassThrough } from 'node:stream';
import { openQuestions } from '../../cli/questions';
import { runCli } from '../../cli/run';

export interface Caught {
  code: number;
  out: string;
  err: string;
  /** What was written to the terminal for progress. */
  progress: string;
}

interface Setup {
  /** Whether stderr is a terminal. */
  terminal?: boolean;
  /** What somebody types, all at once, before the first question; the input ends behind it. */
  typed?: string;
  /** Whether the keys go through readline as they do at a terminal. */
  keys?: boolean;
}

export async function runHere(argv: readonly string[], { terminal, typed, keys = false }: Setup = {}): Promise<Caught> {
  const caught = { out: '', err: '', progress: '' };
  const take = (which: keyof typeof caught) => (text: string) => {
    caught[which] += text;
  };
  const [input, prompts] = [new PassThrough(), new PassThrough()];
  prompts.setEncoding('utf8').on('data', take('err'));
  if (typed !== undefined) input.end(typed);
  const code = await runCli([...argv], {
    out: (text) => take('out')(`${text}\n`),
    err: (text) => take('err')(`${text}\n`),
    terminal: terminal ? { write: take('progress'), columns: () => 80 } : undefined,
    questions: typed === undefined ? undefined : () => openQuestions(input, prompts, keys),
  });
  return { code, ...caught };
}

/** Of an error: no result beside it, no stack, no usage. */
export function expectOneSentence({ out, err }: Pick<Caught, 'out' | 'err'>): void {
  expect(out).toBe('');
  expect(err).toMatch(/^error: [^\n]+\n$/);
  expect(err.length).toBeLessThan(700);
}
