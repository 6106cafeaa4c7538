/** The first question of the dialogue: which model, and what it is. */
import fs from 'node:fs/promises';
import { detectFormat, openSource } from '../../adapters/convert/open';
import { inBytes } from '../../adapters/convert/report';
import { FORMAT_NAMES, type ModelFormat } from '../../adapters/convert/source';
import { TuneModeError } from '../../src';
import type { Dialogue } from './dialogue';

export interface ChosenModel {
  input: string;
  format: ModelFormat;
  /** The file that was recognised, which the output must not replace. */
  place: string;
  /** Where the topology is, of a file with weights alone. */
  topology?: string;
}

/** Whatever `convert` would refuse to read is refused here, before more is asked. */
export async function askForModel(dialogue: Dialogue): Promise<ChosenModel> {
  const found = await dialogue.until('Which model? (a file, or the folder of a model.json) ', async (answer) => {
    const input = pathOf(answer);
    const format = await detectFormat(input);
    if (format === 'keras-weights') {
      const { size } = await fs.stat(input);
      return { input, format, place: input, what: nameOf(format, null, size) };
    }
    return { input, ...(await described(input)) };
  });
  const { input, format, place } = found;
  dialogue.say(`It is a ${found.what}.`);
  if (format !== 'keras-weights') return { input, format, place };
  const question = 'It holds weights alone. Which file has its topology? ';
  const { topology, what } = await dialogue.until(question, async (answer) => {
    const path = pathOf(answer);
    return { topology: path, ...(await described(input, path)) };
  });
  dialogue.say(`Together they are a ${what}.`);
  return { input, format, place, topology };
}

async function described(input: string, topology?: string) {
  const source = await openSource(input, { topology });
  try {
    const { format, place, producer, bytes } = source;
    return { format, place, what: nameOf(format, producer, bytes) };
  } finally {
    await source.close();
  }
}

function nameOf(format: ModelFormat, producer: string | null, bytes: number): string {
  return [FORMAT_NAMES[format], producer, inBytes(bytes)].filter((part) => part !== null).join(', ');
}

/**
 * A path as people type it: also in the quotation marks that a terminal puts around a file dropped on it. There is no shell
 * here to take them away.
 * @throws TuneModeError `invalid-option` where it is empty.
 */
export function pathOf(answer: string): string {
  const path = /^(['"])(.*)\1$/.exec(answer)?.[2] ?? answer;
  if (path === '') throw new TuneModeError('invalid-option', 'Name a file or a folder.');
  return path;
}
