/** `tfjs-tune-mode verify`: whether two saved models compute the same. */
import { enableProdMode } from '@tensorflow/tfjs-core';
import { verifyModels } from '../../adapters/convert';
import { detectFormat } from '../../adapters/convert/open';
import { comparisonText } from '../../adapters/convert/report';
import { useBestBackend } from '../../adapters/node';
import '../../adapters/graph-model/graph-operation';
import { TuneModeError } from '../../src';
import { table } from '../../src/report';
import { type Command, UsageError } from '../command';
import { COMPUTING_HELP, COMPUTING_OPTIONS, computingOf } from '../computing';
import { heedInterruption } from '../interruption';
import { imageSizeOf, numberOf, rangeOf, textOf } from '../values';

export const verifyCommand: Command = {
  name: 'verify',
  summary: 'run two saved models, of any format, on the same inputs, and say how much they differ',
  positionals: ['a', 'b'],
  options: {
    pictures: { type: 'string' },
    'image-size': { type: 'string' },
    'input-range': { type: 'string' },
    tolerance: { type: 'string' },
    ...COMPUTING_OPTIONS,
    json: { type: 'boolean' },
  },
  help: {
    pictures: 'a folder of pictures on which they are compared too',
    'image-size': 'of pictures, such as 224 or 224x192, where the model leaves it open (default 256)',
    'input-range': 'what black and white are for the models (default: their metadata, or -1,1)',
    tolerance: 'largest difference, in shares of the largest output (default 1e-3)',
    ...COMPUTING_HELP,
    json: 'print one JSON object instead of tables',
  },
  async run({ positionals: [a, b], values }, output) {
    const options = {
      pictures: textOf(values, 'pictures'),
      imageSize: imageSizeOf(values, 'image-size'),
      inputRange: rangeOf(values, 'input-range'),
      tolerance: numberOf(values, 'tolerance', 'a number, at least 0', (value) => value >= 0),
    };
    const computing = computingOf(values);
    if (a === '' || b === '') throw new UsageError('<a> and <b> must not be empty');
    enableProdMode();
    await useBestBackend(computing);
    const interruption = heedInterruption(() => output.err('stopping …'));
    try {
      const found = await verifyModels(a, b, { ...options, signal: interruption.signal });
      if (values.json === true) output.out(JSON.stringify({ a, b, ...found }, null, 2));
      else {
        const rows = found.outputs.map(({ name, maxDifference, meanDifference, largestValue }) =>
          [name, maxDifference, meanDifference, largestValue].map((each) =>
            typeof each === 'number' ? each.toPrecision(3) : each,
          ),
        );
        output.out(table(['output', 'max |Δ|', 'mean |Δ|', 'largest value'], rows));
        output.out(`\n${found.passed ? 'the same' : 'DIFFERENT'} ${comparisonText(found)}`);
      }
      return found.passed ? undefined : 1;
    } catch (error) {
      if (!interruption.signal.aborted) throw (await explained(error, [a, b])) ?? error;
      output.err('stopped');
      return interruption.exitCode();
    } finally {
      interruption.end();
    }
  },
};

/** Of files with weights alone the message names --topology, which only `convert` and `inspect` have. */
async function explained(error: unknown, paths: string[]): Promise<TuneModeError | undefined> {
  if (!(error instanceof TuneModeError) || error.code !== 'invalid-model-file') return undefined;
  for (const path of paths) {
    const format = await detectFormat(path).catch(() => undefined);
    if (format !== 'keras-weights') continue;
    return new TuneModeError(
      'invalid-model-file',
      `'${path}' holds weights alone. Convert it first: tfjs-tune-mode convert '${path}' <folder> --topology <file>.`,
    );
  }
  return undefined;
}
