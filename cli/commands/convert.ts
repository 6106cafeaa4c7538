/** `tfjs-tune-mode convert`: any saved model, made tuneable or deployed. */
import { enableProdMode } from '@tensorflow/tfjs-core';
import { convert } from '../../adapters/convert';
import { MODES, TARGETS } from '../../adapters/convert/options';
import { QUANTIZATIONS } from '../../adapters/convert/weight-file';
import { useBestBackend } from '../../adapters/node';
import '../../adapters/graph-model/graph-operation';
import { type Arguments, type Command, type Output, UsageError } from '../command';
import { COMPUTING_HELP, COMPUTING_OPTIONS, computingOf } from '../computing';
import { checkOutputName } from '../convert/output-name';
import { askForConversion } from '../convert/wizard';
import { heedInterruption } from '../interruption';
import { ProgressLine } from '../progress';
import { bytesOf, imageSizeOf, numberOf, oneOf, rangeOf, textOf } from '../values';

export const convertCommand: Command = {
  name: 'convert',
  summary: 'make any saved model (tfjs, Keras .h5, .keras) tuneable or deployed, or hand it to Keras',
  positionals: ['input', 'output'],
  mayAsk: true,
  options: {
    mode: { type: 'string' },
    to: { type: 'string' },
    topology: { type: 'string' },
    restore: { type: 'string' },
    quantize: { type: 'string' },
    'shard-size': { type: 'string' },
    'no-verify': { type: 'boolean' },
    pictures: { type: 'string' },
    'image-size': { type: 'string' },
    'input-range': { type: 'string' },
    tolerance: { type: 'string' },
    'allow-custom': { type: 'boolean' },
    force: { type: 'boolean' },
    ...COMPUTING_OPTIONS,
    json: { type: 'boolean' },
  },
  help: {
    mode: 'tune (default): Convs and BatchNorms as they are, to be trained; deploy: folded, for inference',
    to: 'layers (default), graph (of a GraphModel: folded), or h5 (for Keras; default where the output ends in .h5)',
    topology: 'of a Keras file with weights alone: the file that has its topology',
    restore: 'of a GraphModel: a folder of pictures on which its folded BatchNorms are put back',
    quantize: 'store kernels as float16, uint16 or uint8 (but depthwise ones); vectors stay float32',
    'shard-size': 'of a weight file, at most, such as 4MB or 512kB (default 4 MiB)',
    'no-verify': 'do not run source and result to compare them',
    pictures: 'a folder of pictures on which they are compared too',
    'image-size': 'of pictures, such as 224 or 224x192, where the model leaves it open (default 256)',
    'input-range': 'what black and white are for the model (default: its metadata, or -1,1)',
    tolerance: 'largest difference, in shares of the largest output (default 1e-3; quantised 0.25, uint8 0.5)',
    'allow-custom': 'keep layers and arguments that tfjs-layers does not know',
    force: 'replace an output that exists',
    ...COMPUTING_HELP,
    json: 'print one JSON object instead of lines',
  },
  async run(args, output) {
    const given = args.positionals.length === 0 ? await askForConversion(args, output) : args;
    return typeof given === 'number' ? given : run(given, output);
  },
};

async function run({ positionals: [input, out], values }: Arguments, output: Output): Promise<number | undefined> {
  const options = {
    mode: oneOf(values, 'mode', MODES),
    to: oneOf(values, 'to', TARGETS),
    topology: textOf(values, 'topology'),
    restore: textOf(values, 'restore'),
    quantize: oneOf(values, 'quantize', QUANTIZATIONS),
    shardSize: bytesOf(values, 'shard-size'),
    verify: values['no-verify'] !== true,
    pictures: textOf(values, 'pictures'),
    imageSize: imageSizeOf(values, 'image-size'),
    inputRange: rangeOf(values, 'input-range'),
    tolerance: numberOf(values, 'tolerance', 'a number, at least 0', (value) => value >= 0),
    allowCustom: values['allow-custom'] === true,
    force: values.force === true,
  };
  const computing = computingOf(values);
  if (input === '' || out === '') throw new UsageError('<input> and <output> must not be empty');
  const problem = checkOutputName(out, options.to);
  if (problem !== undefined) throw new UsageError(problem);
  enableProdMode();
  await useBestBackend(computing);
  const progress = new ProgressLine(output);
  const interruption = heedInterruption(() => progress.note('stopping …'));
  try {
    const report = await convert(input, out, {
      ...options,
      signal: interruption.signal,
      onProgress: ({ phase, share }) => progress.show(phase, share, `${Math.round(100 * share)} %`),
    });
    progress.clear();
    output.out(values.json === true ? JSON.stringify(report, null, 2) : report.toString());
    return undefined;
  } catch (error) {
    progress.clear();
    if (!interruption.signal.aborted) throw error;
    output.err('stopped; nothing was written');
    return interruption.exitCode();
  } finally {
    interruption.end();
  }
}
