/**
 * `tfjs-tune-mode inspect <model>`: what a saved model of any format is, what Tune mode would pair, what Deploy would fold
 * and save; of a GraphModel, what can be lifted, and where BatchNorms can be put back.
 */

import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { enableProdMode, ready, setBackend } from '@tensorflow/tfjs-core';
import { disposeWeights } from '../../adapters/layers-model';
import '@tensorflow/tfjs-backend-cpu';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { openSource } from '../../adapters/convert/open';
import { makeFolders } from '../../adapters/convert/output-place';
import { metadataOfSource } from '../../adapters/convert/sample-options';
import type { Source } from '../../adapters/convert/source';
import type { LiftedModel } from '../../adapters/graph-model/lifted';
import '../../adapters/graph-model/graph-operation';
import { planRestore } from '../../adapters/graph-model/restore/plan';
import { statOrUndefined } from '../../adapters/node/model-path';
import { TuneModeError } from '../../src';
import { type Command, type Output, UsageError } from '../command';
import { type InspectData, inspectData, inspectHtml, inspectText, restoreStates } from '../inspect';
import { realPlace } from '../our-files';
import { imageSizeOf, textOf } from '../values';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: 'show what a saved model is, which Conv + BatchNorm blocks can be tuned or folded, and which not and why',
  positionals: ['model'],
  options: {
    json: { type: 'boolean' },
    html: { type: 'string' },
    topology: { type: 'string' },
    'image-size': { type: 'string' },
    force: { type: 'boolean' },
  },
  help: {
    json: 'print one JSON object instead of tables',
    html: 'write a page with the net drawn, its blocks coloured by state, into this file',
    topology: 'of a Keras file with weights alone: the file that has its topology',
    'image-size': 'pixels, such as 224 or 224x192, where the model leaves it open (default 224)',
    force: 'replace a page that exists',
  },
  async run({ positionals: [place], values }, output) {
    const page = textOf(values, 'html');
    const topology = textOf(values, 'topology');
    const imageSize = imageSizeOf(values, 'image-size');
    if (place === '') throw new UsageError('<model> must not be empty');
    // Without it tfjs advises, on stderr, to install its native backend.
    enableProdMode();
    await setBackend('cpu');
    await ready();
    const source = await openSource(place, { topology, withoutWeights: true });
    try {
      const { model, lifted } = await built(source);
      try {
        const size = imageSize ?? (await metadataOfSource(source)).imageSize ?? null;
        const restore = lifted && planRestore(model, () => true);
        const { format, producer, bytes } = source;
        const data = inspectData(model, { format, producer, size: bytes, imageSize: size, restore });
        if (page !== undefined) {
          const states = restore && restoreStates(restore);
          const html = inspectHtml(data, model, { states, imageSize: size });
          await writePage(page, html, values.force === true);
        }
        if (values.json === true) output.out(JSON.stringify({ model: place, ...data, ...graphData(lifted) }, null, 2));
        else show(data, lifted, output);
        if (page !== undefined) output.err(`written: ${page}`);
      } finally {
        disposeWeights(model);
      }
    } finally {
      await source.close();
    }
    return undefined;
  },
};

/** The structure alone where it is one of layers: its weights are not read. */
async function built(source: Source): Promise<{ model: LayersModel; lifted?: LiftedModel }> {
  if (source.kind === 'layers') return { model: await source.build() };
  const lifted = await source.lift();
  return { model: lifted.model, lifted };
}

function graphData(lifted: LiftedModel | undefined): object {
  if (lifted === undefined) return {};
  const { nodes, products, ownLayers } = lifted.report;
  return { nodes, products, ownLayers, from: lifted.inputs, to: lifted.outputs };
}

function show(data: InspectData, lifted: LiftedModel | undefined, { out }: Output): void {
  if (lifted !== undefined) {
    out(`GraphModel, from ${lifted.inputs.join(', ')} to ${lifted.outputs.join(', ')}\n\n${lifted.report}\n`);
  }
  out(inspectText(data));
}

/**
 * The page is there whole, or not at all. What is replaced is a page: no model, nor anything else of the user's.
 * @throws TuneModeError `invalid-option` for a place where something is that may not be replaced.
 */
async function writePage(given: string, html: string, force: boolean): Promise<void> {
  const file = realPlace(given);
  const found = await statOrUndefined(file);
  const refuse = (problem: string): never => {
    throw new TuneModeError('invalid-option', `'${file}' ${problem}. Nothing was written.`);
  };
  if (found !== undefined && !found.isFile()) refuse('is no file; name a file for the page');
  if (found !== undefined && !force) refuse('exists already; name another file, or replace it (--force)');
  if (found !== undefined && found.size > 0 && !(await isPage(file))) {
    refuse('is no page, so it is not replaced; name another file');
  }
  await makeFolders(path.dirname(file));
  const work = `${file}.${randomBytes(6).toString('hex')}.partial`;
  try {
    await fs.writeFile(work, html);
    await fs.rename(work, file);
  } finally {
    await fs.rm(work, { force: true });
  }
}

async function isPage(file: string): Promise<boolean> {
  const handle = await fs.open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0);
    return /^\s*<(!doctype )?html/i.test(buffer.subarray(0, bytesRead).toString());
  } finally {
    await handle.close();
  }
}
