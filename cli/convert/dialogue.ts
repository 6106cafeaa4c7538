/** Questions asked until their answers are right. */
import { TuneModeError } from '../../src';
import type { Output } from '../command';
import type { Questions } from '../questions';
import { describeSystemError } from '../system-error';

/** Somebody has ended the questions. */
export class Ended extends Error {}

export class Dialogue {
  constructor(
    private readonly questions: Questions,
    private readonly output: Output,
  ) {}

  say(text: string): void {
    this.output.err(text);
  }

  /** @param check makes the answer what is wanted; what it throws for people is said, and the question asked again. */
  async until<T>(text: string, check: (answer: string) => Promise<T>): Promise<T> {
    for (;;) {
      const answer = await this.questions.ask(text);
      if (answer === undefined) throw new Ended();
      try {
        return await check(answer.trim());
      } catch (error) {
        const problem = error instanceof TuneModeError ? error.message : describeSystemError(error);
        if (problem === undefined) throw error;
        this.say(problem);
      }
    }
  }

  /** One of several, by number or name; the first one by just pressing Enter. */
  async choose<T extends string>(what: string, names: readonly T[], meanings: Record<string, string>): Promise<T> {
    this.say(`${what}\n${names.map((name, index) => `  ${index + 1} ${name}: ${meanings[name]}`).join('\n')}`);
    return this.until(`1–${names.length} (1)? `, async (answer) => {
      const wanted = answer.toLowerCase();
      const chosen = wanted === '' ? names[0] : names.find((name, i) => wanted === name || wanted === String(i + 1));
      if (chosen !== undefined) return chosen;
      throw new TuneModeError(
        'invalid-option',
        `Answer a number from 1 to ${names.length}, or one of ${names.join(', ')}.`,
      );
    });
  }

  /** No by just pressing Enter. */
  async agrees(text: string): Promise<boolean> {
    return this.until(`${text} (y/N)? `, async (answer) => {
      if (/^(y|yes)$/i.test(answer)) return true;
      if (/^(n|no|)$/i.test(answer)) return false;
      throw new TuneModeError('invalid-option', 'Answer y or n.');
    });
  }
}
