/** `convert` without arguments, on a terminal: asks for what it needs. */
import os from 'node:os';
import { openOutput } from '../../adapters/convert/output-place';
import { pictureFilesIn } from '../../adapters/convert/picture-files';
import { QUANTIZATIONS } from '../../adapters/convert/weight-file';
import { TuneModeError } from '../../src';
import { type Arguments, type Output, quoted, UsageError, type Values } from '../command';
import { Dialogue, Ended } from './dialogue';
import { askForModel, type ChosenModel, pathOf } from './model-question';
import { checkOutputName } from './output-name';

/**
 * @returns the arguments that the answers make, or the exit code where the person has stopped.
 * @throws UsageError where nobody can be asked.
 */
export async function askForConversion(args: Arguments, output: Output): Promise<Arguments | number> {
  const questions = output.questions?.();
  if (questions === undefined) throw new UsageError('<input> is missing');
  try {
    const answers = await askAll(new Dialogue(questions, output));
    output.err(`\ntfjs-tune-mode ${commandLine(answers)}\n`);
    return { ...args, ...answers };
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    output.err('stopped; nothing was written');
    return questions.wasInterrupted() ? 128 + os.constants.signals.SIGINT : 1;
  } finally {
    questions.close();
  }
}

async function askAll(dialogue: Dialogue): Promise<{ positionals: string[]; values: Values }> {
  const values: Values = {};
  const model = await askForModel(dialogue);
  if (model.topology !== undefined) values.topology = model.topology;
  const isGraph = model.format === 'tfjs-graph';
  const to = await dialogue.choose('Write', isGraph ? (['layers', 'graph'] as const) : (['layers', 'h5'] as const), {
    layers: 'a tfjs LayersModel',
    graph: 'a GraphModel, folded',
    h5: 'an .h5 file for Keras',
  });
  values.to = to;
  if (to !== 'graph') {
    values.mode = await dialogue.choose('Mode', ['tune', 'deploy'], {
      tune: 'Convs and BatchNorms as they are, to be trained',
      deploy: 'BatchNorms folded away, for inference',
    });
  }
  if (isGraph && values.mode === 'tune') {
    const question = 'A folder of pictures, to put its BatchNorms back (empty: leave them folded)? ';
    values.restore = await dialogue.until(question, async (answer) => {
      if (answer === '') return undefined;
      const folder = pathOf(answer);
      await pictureFilesIn(folder, 1);
      return folder;
    });
  }
  if (to !== 'h5') {
    const quantize = await dialogue.choose('Store kernels as', ['float32', ...QUANTIZATIONS], {
      float32: 'they are',
      float16: 'half the size, as good as equal',
      uint8: 'a quarter of the size; look at the comparison',
      uint16: 'half the size',
    });
    if (quantize !== 'float32') values.quantize = quantize;
  }
  const out = await askForOutput(dialogue, model, to);
  if (out.force) values.force = true;
  return { positionals: [model.input, out.path], values };
}

/** Tried now: that it cannot be written is better known before minutes of work. */
async function askForOutput(dialogue: Dialogue, model: ChosenModel, to: 'layers' | 'graph' | 'h5') {
  const kind = to === 'h5' ? 'file' : 'folder';
  const sources = [model.place, model.topology].filter((each) => each !== undefined);
  const attempt = async (path: string, force: boolean) => (await openOutput(path, kind, force, sources)).discard();
  for (;;) {
    const { path, exists } = await dialogue.until(`Into which ${kind}? `, async (answer) => {
      const path = pathOf(answer);
      const problem = checkOutputName(path, to);
      if (problem !== undefined) throw new TuneModeError('invalid-option', `${problem}.`);
      try {
        await attempt(path, false);
        return { path, exists: false };
      } catch {
        // What cannot be replaced either is said, and asked for again.
        await attempt(path, true);
        return { path, exists: true };
      }
    });
    if (!exists || (await dialogue.agrees(`'${path}' exists already. Replace it`))) return { path, force: exists };
  }
}

/** The command that does the same without questions. */
function commandLine({ positionals, values }: { positionals: string[]; values: Values }): string {
  const options = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => (value === true ? `--${name}` : `--${name}=${quoted(String(value))}`));
  // Behind `--` a path that begins with a dash is no option.
  const end = positionals.some((path) => path.startsWith('-')) ? ['--'] : [];
  return ['convert', ...options, ...end, ...positionals.map(quoted)].join(' ');
}
